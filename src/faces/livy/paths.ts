import { realpath, stat } from "node:fs/promises";
import { isAbsolute, resolve, sep } from "node:path";
import { pathToFileURL } from "node:url";
import type { Caller } from "../../core/access.ts";
import { Problem } from "../../core/problems.ts";
import { redactAddresses } from "../../core/redaction.ts";
import type { SessionSpec } from "../../core/spec.ts";
import { readUploadUri, URI_KEYS, uploadUri } from "../../core/upload-uri.ts";
import type { Uploads } from "../../core/uploads.ts";
import { shown } from "./spec.ts";

export interface PathRules {
  /** Whether drivers see this machine's files, as its own processes do; otherwise every path is one of the driver's image and volumes. */
  readonly driversAreHere: boolean;
  /** Directories of this machine whose files sessions may use. */
  readonly localDirs: readonly string[];
  /** null: files cannot be uploaded here. */
  readonly uploads: Uploads | null;
}

/** Schemes that wrap another URI, which nobody would have checked. */
const NESTING_SCHEMES: ReadonlySet<string> = new Set(["jar", "har", "zip", "viewfs"]);

const CHECKED_AT_ONCE = 16;

/** A caller's URI, fit to stand in a message. */
const visible = (uri: string): string => shown(redactAddresses(uri));

const refuse = (reason: string): Problem => new Problem("SPEC_REFUSED", `Rejected, Reason: ${reason}`);

/**
 * The spec with every URI in it checked and in one spelling.
 * @throws Problem SPEC_REFUSED, FORBIDDEN
 */
export const checkUris = async (spec: SessionSpec, rules: PathRules, caller: Caller): Promise<SessionSpec> => {
  const check = async (uris: readonly string[]): Promise<string[]> => {
    const checked: string[] = [];
    // A list may be as long as its sender likes; what looks at a file keeps one open.
    for (let at = 0; at < uris.length; at += CHECKED_AT_ONCE)
      checked.push(...(await Promise.all(uris.slice(at, at + CHECKED_AT_ONCE).map((uri) => checkUri(uri, rules, caller)))));
    return checked;
  };
  const conf: [string, string][] = [];
  for (const [key, value] of Object.entries(spec.conf)) {
    const uris = value.split(",").map((uri) => uri.trim());
    conf.push([key, URI_KEYS.has(key) ? (await check(uris.filter((uri) => uri !== ""))).join(",") : value]);
  }
  const { application } = spec;
  return {
    ...spec,
    ...(application === undefined ? {} : { application: { ...application, file: await checkUri(application.file, rules, caller) } }),
    conf: Object.fromEntries(conf),
    jars: await check(spec.jars),
    pyFiles: await check(spec.pyFiles),
    files: await check(spec.files),
    archives: await check(spec.archives),
  };
};

/**
 * A URI that a session may use. Files come back as `file:` (or `local:`) URIs of normalised absolute paths; those of this machine must
 * exist inside an allowed directory after symbolic links, `..` and percent-encodings are resolved, those of a driver elsewhere are its
 * own business. Uploads must be there and the caller's to use. Other schemes pass as they are. The server opens none of these files: the
 * driver does, later and as the same user, whose code may open whatever that user can. A path that leads elsewhere by then gains nobody more.
 * @throws Problem SPEC_REFUSED, FORBIDDEN
 */
export const checkUri = async (uri: string, rules: PathRules, caller: Caller): Promise<string> => {
  if (/\p{Cc}/u.test(uri) || !uri.isWellFormed()) throw refuse("A URI holds control characters.");
  // Spark joins and splits its lists at commas: what follows one would be a URI that nobody has checked.
  if (uri.includes(",")) throw refuse(`URI '${visible(uri)}' holds a comma.`);
  const [, scheme, rest] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(uri) ?? [];
  if (scheme === undefined || rest === undefined) {
    const { path, fragment } = cutFragment(uri);
    if (!isAbsolute(path)) throw refuse(`Path '${visible(uri)}' is not absolute.`);
    return pathToFileURL(await checkPath(path, rules)).href + fragment;
  }
  const kind = scheme.toLowerCase();
  if (NESTING_SCHEMES.has(kind)) throw refuse(`URIs of scheme ${kind} are not taken.`);
  if (kind === "upload") return checkUpload(uri, rules.uploads, caller);
  if (kind !== "file" && kind !== "local") return uri;
  const { path, fragment } = cutFragment(rest);
  const local = await checkPath(pathOf(path, uri), rules);
  const { pathname } = pathToFileURL(local);
  return `${kind}://${pathname}${fragment}`;
};

/**
 * The directory that a client works in, as one that drivers may begin in too: its real path, if it is one of this machine inside an
 * allowed directory. Else `refused` says why not, and nothing of what is there.
 */
export const checkDirectory = async (
  path: string,
  { driversAreHere, localDirs }: PathRules,
): Promise<{ readonly directory: string } | { readonly refused: string }> => {
  if (!driversAreHere) return { refused: "drivers do not run on this machine" };
  if (!isAbsolute(path) || path.includes("\0")) return { refused: "it is no absolute path" };
  const real = await realDirectory(path);
  for (const dir of localDirs) {
    const root = await realDirectory(dir);
    if (real !== null && root !== null && isInside(real, root)) return { directory: real };
  }
  return { refused: "it is no directory inside of those that `localPaths` allows" };
};

const realDirectory = async (path: string): Promise<string | null> => {
  const real = await realpath(path).catch(() => null);
  const found = real === null ? null : await stat(real).catch(() => null);
  return found?.isDirectory() === true ? real : null;
};

const checkUpload = async (uri: string, uploads: Uploads | null, caller: Caller): Promise<string> => {
  if (uploads === null) throw refuse(`URI '${visible(uri)}': uploads are not switched on here.`);
  const asked = readUploadUri(uri);
  if (asked === null) throw refuse(`URI '${visible(uri)}' is no upload's: take the \`uri\` that POST /uploads answered.`);
  const { name } = await uploads.use(asked.id, caller, AbortSignal.timeout(STORE_MS)).catch((error: unknown) => {
    throw error instanceof Problem && error.code === "UPLOAD_NOT_FOUND" ? refuse(error.message) : error;
  });
  if (name !== asked.name) throw refuse(`Upload '${asked.id}' is called '${name}', not '${asked.name}'.`);
  return uploadUri(asked);
};
/** How long a store may take to say what it has. */
const STORE_MS = 30_000;

/** `#name` is how Spark is told under which name to unpack an archive. */
const cutFragment = (text: string): { path: string; fragment: string } => {
  const at = text.indexOf("#");
  return at === -1 ? { path: text, fragment: "" } : { path: text.slice(0, at), fragment: text.slice(at) };
};

/** The path of a `file:` URI's part after the scheme: `/a`, `///a` or `//localhost/a`; decoded once, as Hadoop does. */
const pathOf = (rest: string, uri: string): string => {
  const [, host, path] = /^(?:\/\/([^/]*))?(\/.*)$/s.exec(rest) ?? [];
  if (path === undefined) throw refuse(`Path '${visible(uri)}' is not absolute.`);
  if (host !== undefined && host !== "" && host.toLowerCase() !== "localhost") throw refuse(`URI '${visible(uri)}' names another machine.`);
  if (path.includes("?")) throw refuse(`URI '${visible(uri)}' has a query.`);
  try {
    return decodeURIComponent(path);
  } catch {
    throw refuse(`URI '${visible(uri)}' is not well-formed.`);
  }
};

const checkPath = async (path: string, rules: PathRules): Promise<string> => {
  const forbidden = () =>
    refuse(
      `Local path ${path} cannot be added to user sessions. It must be in a directory that \`localPaths\` allows` +
        (rules.uploads === null ? "." : ", or be sent (POST /uploads) and named by its `uri`."),
    );
  if (path.includes("\0")) throw forbidden();
  // Spark would expand a pattern, and take what follows a comma (which may have come percent-encoded) for another path.
  if (/[,*?[\]{}]/.test(path)) throw refuse(`Local path ${path} holds a comma or a pattern.`);
  const normal = resolve(path);
  if (!rules.driversAreHere) return normal;
  const real = await realpath(normal).catch(() => null);
  for (const dir of rules.localDirs) {
    const root = await realpath(dir).catch(() => null);
    if (root === null) continue;
    if (real !== null && isInside(real, root)) return normal;
    // Only below an allowed directory may the answer tell whether a file is there.
    if (real === null && isInside(normal, root)) throw refuse(`Local path ${path} does not exist.`);
  }
  throw forbidden();
};

const isInside = (path: string, dir: string): boolean => path === dir || path.startsWith(dir.endsWith(sep) ? dir : dir + sep);
