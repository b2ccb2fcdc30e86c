import type { Application, Conf, SessionSpec } from "./spec.ts";
import { readUploadUri, URI_KEYS } from "./upload-uri.ts";

/** Conf keys whose values no answer, log or annotation ever holds: Spark's own `spark.redaction.regex`. */
const REDACTED_KEYS = /secret|password|token|access[.]?key/i;
export const REDACTED = "*********(redacted)";

/** No secret whatever its value is like: a session is found where its claim says, and its pods say so to everybody. */
const PLACE_KEY = "spark.kubernetes.namespace";

/** An address with all that is joined to it; before `://` it begins only where its user is a secret by itself. */
const ADDRESS = /(?:https?|ftp)?:\/\/\S+/gi;
/** A key may hold the slash that should be escaped in it; what follows a port is no key. */
const USER_INFO = /((?:https?|ftp)?):\/\/([^\s/?#]*|[^\s/?#:]*:(?!\d+(?:[/,]|$))[^\s?#]{0,256})@/gi;
const PARAMETER = /([?&;])([^=&?;\s#]*)=([^&\s#]+)/g;
/** Parameters that let in whoever has the address: presigned URLs of S3, Azure (`sig`) and Google, and what APIs call their tokens. */
const SECRET_PARAMETER =
  /sig$|signature|secret|passw|pwd|token|credential|auth$|authorization|api[-_.]?key|access[-_.]?key|^(key|code|jwt)$/i;

/** The text with each credential in its addresses as `show` has it, which is told what may be shown in its place. */
const withCredentials = (text: string, show: (credential: string, shown: string) => string): string =>
  text.replaceAll(ADDRESS, (address) =>
    address
      .replaceAll(USER_INFO, (whole, web: string, user: string) =>
        // A name alone is no secret but on the web, where it may be a token: `abfss://container@account`.
        web !== "" || user.includes(":") ? web + show(`://${user}@`, `://${REDACTED}@`) : whole,
      )
      .replaceAll(PARAMETER, (whole, before: string, name: string, value: string) =>
        SECRET_PARAMETER.test(name) ? before + show(`${name}=${value}`, `${name}=${REDACTED}`) : whole,
      ),
  );

/** The text without the credentials that addresses in it hold. Idempotent. */
export const redactAddresses = (text: string): string => withCredentials(text, (_, shown) => shown);

/** The credentials in the addresses of these texts, each with what may be shown in its place; none comes after a part of itself. */
export const credentialsIn = (texts: readonly string[]): Readonly<Record<string, string>> => {
  const found: [string, string][] = [];
  for (const text of texts)
    withCredentials(text, (credential, shown) => {
      found.push([credential, shown]);
      return shown;
    });
  return Object.fromEntries(found.sort(([a], [b]) => b.length - a.length));
};

/** A setting's value without what it or its name says of secrets. */
export const redactValue = (key: string, value: string): string => {
  if (key === PLACE_KEY) return value;
  if (REDACTED_KEYS.test(key)) return REDACTED;
  if (URI_KEYS.has(key)) return value.split(",").map(redactListed).join(",");
  return REDACTED_KEYS.test(value) ? REDACTED : redactAddresses(value);
};

/** What an upload is called is no secret, though it be `tokenizer.jar`: whoever keeps or sends it reads here which it is. */
const redactListed = (uri: string): string => {
  if (readUploadUri(uri.trim()) !== null) return uri;
  return REDACTED_KEYS.test(uri) ? REDACTED : redactAddresses(uri);
};

const redactConf = (conf: Conf): Record<string, string> =>
  Object.fromEntries(Object.entries(conf).map(([key, value]) => [key, redactValue(key, value)]));

/** An argument is secret when its name says so: `--token=…`, or what follows `--token`; of others credentials in addresses are. */
export const redactArguments = (args: readonly string[]): string[] =>
  args.map((argument, index) => {
    const before = args[index - 1] ?? "";
    if (/^-[^=]*$/.test(before) && REDACTED_KEYS.test(before) && !argument.startsWith("-")) return REDACTED;
    const [, name = ""] = /^([^=]*=)./s.exec(argument) ?? [];
    return redactAddresses(REDACTED_KEYS.test(name) ? name + REDACTED : argument);
  });

type Lists = Pick<SessionSpec, "jars" | "pyFiles" | "files" | "archives">;

/** Lists of URIs without credentials. */
export const redactLists = ({ jars, pyFiles, files, archives }: { readonly [Name in keyof Lists]: readonly string[] }): Lists => ({
  jars: jars.map(redactAddresses),
  pyFiles: pyFiles.map(redactAddresses),
  files: files.map(redactAddresses),
  archives: archives.map(redactAddresses),
});

/** What a batch runs, without secrets. */
export const redactApplication = (application: Application): Application => ({
  ...application,
  file: redactAddresses(application.file),
  args: redactArguments(application.args),
});

/** The spec without secrets: values of secret conf keys and arguments, credentials in addresses. */
export const redactSpec = (spec: SessionSpec): SessionSpec => ({
  ...spec,
  ...redactLists(spec),
  conf: redactConf(spec.conf),
  ...(spec.configuration === undefined ? {} : { configuration: redactConf(spec.configuration) }),
  ...(spec.application === undefined ? {} : { application: redactApplication(spec.application) }),
  ...(spec.preset === undefined ? {} : { preset: { ...spec.preset, conf: redactConf(spec.preset.conf) } }),
});

/** Where a spec holds what stands for a secret that was not shown: its sender does not have the secret. Null: nowhere. */
export const redactedPart = ({ conf, jars, pyFiles, files, archives, application }: SessionSpec): string | null => {
  const parts = { jars, pyFiles, files, archives, file: [application?.file ?? ""], args: application?.args ?? [] };
  const found = [...Object.entries(parts), ...Object.entries(conf).map(([key, value]) => [`conf ${key}`, [value]] as const)];
  return found.find(([, texts]) => texts.some((text) => text.includes(REDACTED)))?.[0] ?? null;
};
