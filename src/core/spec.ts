import { type Static, Type } from "typebox";
import { END_CAUSES } from "./states.ts";
import { readUploadUri, URI_KEYS } from "./upload-uri.ts";

const Text = Type.String();
const Uris = Type.Array(Text);

/** Kinds a session may have; `shared` means that each statement says its own. */
export const SessionKind = Type.Union([
  Type.Literal("shared"),
  Type.Literal("pyspark"),
  Type.Literal("sql"),
  Type.Literal("spark"),
  Type.Literal("sparkr"),
]);
export type SessionKind = Static<typeof SessionKind>;

/** What a session that was started as a Jupyter kernel remembers of it. */
const KernelSpec = Type.Object(
  {
    name: Type.String({ description: "The kernelspec's." }),
    id: Type.Union([Text, Type.Null()], {
      description: "Of the kernel whose earlier session this one goes on for; null: the kernel is new.",
    }),
    keep: Type.Boolean({ description: "Shutting the kernel down leaves the session running." }),
    path: Type.Union([Text, Type.Null()], { description: "The notebook it was started for, as the client calls it." }),
    directory: Type.Optional(
      Type.Union([Text, Type.Null()], {
        description: "Where code begins, on the machine of the server and its drivers; null: in one of its own.",
      }),
    ),
  },
  { description: "Absent: the session is no kernel's." },
);

/** What a batch's driver runs to its end, and when it is to be tried again. */
export const Application = Type.Object({
  file: Text,
  className: Type.Union([Text, Type.Null()], { description: "Of a JVM application; null: a Python file, or the jar's own main class." }),
  args: Type.Array(Text),
  retry: Type.Object({
    maxAttempts: Type.Integer({ minimum: 1 }),
    backoffMs: Type.Integer({ minimum: 0, description: "Before the second attempt; twice as long before each later one." }),
    on: Type.Array(Type.Enum([...END_CAUSES])),
  }),
  carrier: Type.Optional(
    Type.Literal("spark-application", { description: "Of what the launcher makes each attempt; absent: a driver of ours." }),
  ),
  run: Type.Optional(
    Type.Object(
      { schedule: Text, scheduleUid: Text, dueMs: Type.Integer({ description: "Unix time in milliseconds." }) },
      { description: "The schedule it is a run of; absent: somebody asked for it." },
    ),
  ),
});
export type Application = Static<typeof Application>;

/** A driver's conf: Spark's keys, and values as Spark reads them. */
export type Conf = Readonly<Record<string, string>>;

/** What sessions of a preset may ask for at most; memory as Spark writes it. Zero and null: no limit. */
export const PresetLimits = Type.Object({
  sessionsPerUser: Type.Integer({ minimum: 0 }),
  driverMemory: Type.Union([Text, Type.Null()]),
  driverCores: Type.Integer({ minimum: 0 }),
  executorMemory: Type.Union([Text, Type.Null()]),
  executorCores: Type.Integer({ minimum: 0 }),
  numExecutors: Type.Integer({ minimum: 0 }),
});
export type PresetLimits = Static<typeof PresetLimits>;

/**
 * What was asked for, checked and in one spelling: times in milliseconds, memory as Spark writes it, every number a number. Zero means
 * "not asked for", as on Livy's wire. Faces make it; launchers turn it into a workload.
 */
export const SessionSpec = Type.Object({
  kind: SessionKind,
  name: Type.Union([Text, Type.Null()]),
  proxyUser: Type.Union([Text, Type.Null()]),
  conf: Type.Record(Text, Text),
  jars: Uris,
  pyFiles: Uris,
  files: Uris,
  archives: Uris,
  driverMemory: Type.Union([Text, Type.Null()]),
  driverCores: Type.Integer({ minimum: 0 }),
  executorMemory: Type.Union([Text, Type.Null()]),
  executorCores: Type.Integer({ minimum: 0 }),
  numExecutors: Type.Integer({ minimum: 0 }),
  queue: Type.Union([Text, Type.Null()]),
  ttl: Type.Union([Text, Type.Null()], { description: "As the client wrote it, for answers." }),
  ttlMs: Type.Integer({ minimum: 0, description: "0: no limit." }),
  idleTimeout: Type.Union([Text, Type.Null()], { description: "As the client wrote it, for answers." }),
  idleTimeoutMs: Type.Integer({ minimum: 0, description: "0: no limit." }),
  heartbeatTimeoutMs: Type.Integer({ minimum: 0, description: "0: no heartbeat is asked for." }),
  kernel: Type.Optional(KernelSpec),
  /** Absent: the driver takes statements. */
  application: Type.Optional(Application),
  /** What lies beneath what was asked for, as it was then: the configuration and presets may change, a session keeps what it has. */
  configuration: Type.Optional(
    Type.Record(Text, Text, { description: "The operator's conf; absent: not admitted yet, or by a release that did not keep it." }),
  ),
  preset: Type.Optional(Type.Object({ name: Text, conf: Type.Record(Text, Text), limits: PresetLimits })),
});
export type SessionSpec = Static<typeof SessionSpec>;

/** A session of which nothing was asked. */
export const NO_SPEC: SessionSpec = {
  kind: "shared",
  name: null,
  proxyUser: null,
  conf: {},
  jars: [],
  pyFiles: [],
  files: [],
  archives: [],
  driverMemory: null,
  driverCores: 0,
  executorMemory: null,
  executorCores: 0,
  numExecutors: 0,
  queue: null,
  ttl: null,
  ttlMs: 0,
  idleTimeout: null,
  idleTimeoutMs: 0,
  heartbeatTimeoutMs: 0,
};

/** Conf keys whose values no answer, log or annotation ever holds: Spark's own `spark.redaction.regex`. */
export const REDACTED_KEYS = /secret|password|token|access[.]?key/i;
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
