import { realpath } from "node:fs/promises";
import { isAbsolute, resolve, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { Problem } from "../../core/problems.ts";
import type { SessionSpec } from "../../core/spec.ts";

export interface PathRules {
  /** Whether drivers see this machine's files, as its own processes do; otherwise every path is one of the driver's image and volumes. */
  readonly driversAreHere: boolean;
  /** Directories of this machine whose files sessions may use. */
  readonly localDirs: readonly string[];
}

/** Conf keys that hold comma-separated URIs. */
const URI_KEYS: ReadonlySet<string> = new Set([
  "spark.jars",
  "spark.files",
  "spark.archives",
  "spark.submit.pyFiles",
  "spark.yarn.dist.jars",
  "spark.yarn.dist.files",
  "spark.yarn.dist.archives",
]);
/** Schemes that wrap another URI, which nobody would have checked. */
const NESTING_SCHEMES: ReadonlySet<string> = new Set(["jar", "har", "zip", "viewfs"]);

const refuse = (reason: string): Problem => new Problem("SPEC_REFUSED", `Rejected, Reason: ${reason}`);

/**
 * The spec with every URI in it checked and in one spelling.
 * @throws Problem SPEC_REFUSED
 */
export const checkUris = async (spec: SessionSpec, rules: PathRules): Promise<SessionSpec> => {
  const check = (uris: readonly string[]) => Promise.all(uris.map((uri) => checkUri(uri, rules)));
  const conf: [string, string][] = [];
  for (const [key, value] of Object.entries(spec.conf)) {
    const uris = value.split(",").map((uri) => uri.trim());
    conf.push([key, URI_KEYS.has(key) ? (await check(uris.filter((uri) => uri !== ""))).join(",") : value]);
  }
  const { application } = spec;
  return {
    ...spec,
    ...(application === undefined ? {} : { application: { ...application, file: await checkUri(application.file, rules) } }),
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
 * own business. Other schemes pass as they are.
 * @throws Problem SPEC_REFUSED
 */
export const checkUri = async (uri: string, rules: PathRules): Promise<string> => {
  if (/\p{Cc}/u.test(uri) || !uri.isWellFormed()) throw refuse("A URI holds control characters.");
  // Spark joins and splits its lists at commas: what follows one would be a URI that nobody has checked.
  if (uri.includes(",")) throw refuse(`URI '${uri}' holds a comma.`);
  const [, scheme, rest] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(uri) ?? [];
  if (scheme === undefined || rest === undefined) {
    const { path, fragment } = cutFragment(uri);
    if (!isAbsolute(path)) throw refuse(`Path '${uri}' is not absolute.`);
    return pathToFileURL(await checkPath(path, rules)).href + fragment;
  }
  const kind = scheme.toLowerCase();
  if (NESTING_SCHEMES.has(kind)) throw refuse(`URIs of scheme ${kind} are not taken.`);
  if (kind !== "file" && kind !== "local") return uri;
  const { path, fragment } = cutFragment(rest);
  const local = await checkPath(pathOf(path, uri), rules);
  const { pathname } = pathToFileURL(local);
  return `${kind}://${pathname}${fragment}`;
};

/** `#name` is how Spark is told under which name to unpack an archive. */
const cutFragment = (text: string): { path: string; fragment: string } => {
  const at = text.indexOf("#");
  return at === -1 ? { path: text, fragment: "" } : { path: text.slice(0, at), fragment: text.slice(at) };
};

/** The path of a `file:` URI's part after the scheme: `/a`, `///a` or `//localhost/a`; decoded once, as Hadoop does. */
const pathOf = (rest: string, uri: string): string => {
  const [, host, path] = /^(?:\/\/([^/]*))?(\/.*)$/s.exec(rest) ?? [];
  if (path === undefined) throw refuse(`Path '${uri}' is not absolute.`);
  if (host !== undefined && host !== "" && host.toLowerCase() !== "localhost") throw refuse(`URI '${uri}' names another machine.`);
  if (path.includes("?")) throw refuse(`URI '${uri}' has a query.`);
  try {
    return decodeURIComponent(path);
  } catch {
    throw refuse(`URI '${uri}' is not well-formed.`);
  }
};

const checkPath = async (path: string, rules: PathRules): Promise<string> => {
  const forbidden = () => refuse(`Local path ${path} cannot be added to user sessions.`);
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
