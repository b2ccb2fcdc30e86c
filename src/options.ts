import { type Static, type TObject, type TSchemaOptions, Type } from "typebox";
import { PRESET_NAME, PresetTable } from "./preset-tables.ts";

/**
 * Every option there is, each written once: its name (a flag and a variable follow from it), its type, its default and what it is for. A
 * `format` says how text is read; `fallback` names a variable of other programs that gives the value when nobody else does.
 */

/** A variable that other programs read too; `under` is appended to its value. */
export interface Fallback {
  readonly variable: string;
  readonly under?: string;
}

const text = (description: string, options: TSchemaOptions = {}) =>
  Type.Union([Type.String({ minLength: 1 }), Type.Null()], { default: null, description, ...options });
/** A file or directory. Relative ones count from where they were written: the working directory, or the configuration file's. */
const path = (description: string, options: TSchemaOptions = {}) => text(description, { format: "path", ...options });
/** A program: a path, or the name of one on the PATH. */
const command = (description: string, options: TSchemaOptions = {}) => text(description, { format: "command", ...options });
const directory = (value: string, description: string, fallback: Fallback) =>
  Type.String({ default: value, description, format: "path", fallback, minLength: 1 });
const flag = (description: string) => Type.Boolean({ default: false, description });
const list = (description: string, options: TSchemaOptions = {}) =>
  Type.Array(Type.String({ minLength: 1 }), { default: [], description, ...options });
const count = (value: number, description: string, limits: { minimum?: number; maximum?: number } = {}) =>
  Type.Integer({ default: value, description, minimum: 0, ...limits });
const duration = (valueMs: number, description: string) => Type.Integer({ default: valueMs, description, format: "duration", minimum: 0 });
const bytes = (value: number, description: string, minimum = 1024) =>
  Type.Integer({ default: value, description, format: "bytes", minimum });

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const MIB = 1024 * 1024;

const Listening = Type.Object({
  host: Type.String({
    default: "127.0.0.1",
    minLength: 1,
    description: "Address or name to listen on. Another than loopback needs `htpasswd` or `tokens`.",
  }),
  port: count(8998, "Port to listen on; 0 takes a free one.", { maximum: 65_535 }),
  basePath: Type.String({
    default: "",
    pattern: "^(/[A-Za-z0-9._~-]+)*$",
    description: "Path that everything lives below, when a proxy puts the server there (`/spark`).",
  }),
  trustedProxies: list("Addresses or networks (`10.0.0.0/8`) whose `X-Forwarded-*` headers are believed."),
  tlsCert: path("Certificate chain in PEM; with `tlsKey` the server speaks HTTPS."),
  tlsKey: path("The certificate's private key in PEM."),
  allowCleartextPasswords: flag("Take passwords and tokens over plain HTTP from other machines, as behind a proxy that ends TLS."),
  allowedHosts: list(
    "Names the server may be called by in `Host`, besides `host` and loopback names; what a web page can rebind is refused.",
  ),
  allowedOrigins: list("Origins (`https://hub.example.org`) whose web pages may use the server, besides its own."),
});

const Users = Type.Object({
  htpasswd: path("File of users and passwords as `htpasswd -B` makes it; read again when it changes."),
  tokens: path("File of bearer tokens: on each line the token's SHA-256 in hex, a blank and the user."),
  allowedUsers: list("Who may use the server at all; empty: whoever can log in."),
  superusers: list("Who may see and change every session, and run Spark as anybody."),
  viewUsers: list("Who may see every session; `*` is everybody."),
  modifyUsers: list("Who may see and change every session; `*` is everybody."),
  impersonators: list("Who may name another `proxyUser` than themselves; `*` is everybody."),
  csrfProtection: flag("Refuse POST, PUT, PATCH and DELETE without an `X-Requested-By` header."),
  allowSharedUser: flag("Let several users start drivers although all of them run as the server's own operating-system user."),
  localPaths: list(
    "Directories of this machine that local drivers may take jars, files and archives from; pods see their own files alone.",
    { format: "path" },
  ),
});

const Spark = Type.Object({
  python: command(
    "Python of the drivers. With a PySpark of its own it is used as it is; otherwise an environment is made from it. Default: what is found.",
  ),
  java: command("Java of the drivers: its home or its binary. Default: what is found, else one is prepared.", {
    fallback: { variable: "JAVA_HOME" },
  }),
  sparkHome: path("A Spark 3.5 to 4.x to use in place of one that is prepared.", { fallback: { variable: "SPARK_HOME" } }),
  pysparkVersion: text("PySpark to prepare (`3.5`, `4.0.1`). Default: the newest that the Python and the Java found allow.", {
    pattern: "^(3\\.5|4\\.[0-9]+)(\\.[0-9]+)?$",
  }),
  home: directory("~/.cache/longwick", "Directory of what is prepared: Python environments, Java, class-data archives.", {
    variable: "XDG_CACHE_HOME",
    under: "longwick",
  }),
  sparkConf: Type.Record(Type.String(), Type.String(), {
    default: {},
    description: "Spark settings of every driver; those of a session go before them.",
  }),
  refusedConf: list("Spark settings that no session may set. The default is what Livy refuses: where Spark runs is the operator's.", {
    default: ["spark.master", "spark.submit.deployMode", "spark.yarn.jar", "spark.yarn.jars", "spark.yarn.archive"],
  }),
  sparkTimeZone: text("Spark's session time zone (`UTC`, `Europe/Berlin`). Default: Spark's own, the machine's."),
  historyServer: text(
    "Address of Spark's history server (`https://history.example.org`): batches that wrote an event log link there once they have ended.",
    { pattern: "^https?://[^\\s\"'<>]+$" },
  ),
  launcher: Type.Union([Type.Literal("local"), Type.Literal("kubernetes")], {
    default: "local",
    description: "Where drivers run: `local` are processes of this machine, `kubernetes` are pods.",
  }),
});

const Kubernetes = Type.Object({
  kubernetesImage: text(
    "Image of drivers and executors: Spark, Java and Python 3.8 or later, as `apache/spark` has them. Needed for pods.",
  ),
  kubernetesImagePullPolicy: Type.Union(
    [Type.Literal("default"), Type.Literal("Always"), Type.Literal("IfNotPresent"), Type.Literal("Never")],
    { default: "default", description: "When images are pulled; `default` is Kubernetes' own rule." },
  ),
  kubernetesImagePullSecrets: list("Secrets that images are pulled with."),
  kubernetesNamespace: text("Where drivers run. Default: the server's own namespace."),
  kubernetesServerNamespace: text("Where claims and the master key are kept. Default: the kubeconfig's or the server's pod's namespace."),
  kubernetesInstance: Type.String({
    default: "longwick",
    pattern: "^[a-z]([-a-z0-9]{0,18}[a-z0-9])?$",
    description: "Name of this Longwick among others in the cluster; servers with the same name are replicas of one.",
  }),
  kubernetesServiceAccount: Type.String({
    default: "longwick-driver",
    minLength: 1,
    description: "Account of driver pods, which makes executor pods.",
  }),
  kubernetesRunAsUser: count(185, "User and group that drivers and executors run as; 185 is Spark's.", { minimum: 1 }),
  kubernetesPython: Type.String({ default: "python3", minLength: 1, description: "Python of the image: a path, or a name on its PATH." }),
  kubernetesMaster: text(
    "The API server as drivers reach it, as a Spark master (`k8s://https://HOST:PORT`). Default: the address that Kubernetes tells every pod.",
  ),
  kubernetesDriverTemplate: path("Pod template (YAML) that every driver's pod starts from."),
  kubernetesExecutorTemplate: path("Pod template (YAML) that every executor's pod starts from."),
  kubernetesAllow: list(
    "What sessions may ask for in their `conf` besides sizes, env, labels, annotations, emptyDir, PVC and ephemeral volumes, selectors and tolerations: rules like `image=registry.example/spark:*`, `namespace=NAME`, `serviceAccount=NAME`, `hostPath=/PATH`, `nfs=SERVER:/PATH`, `secret=NAME`, `configMap=NAME`, `volume=TYPE`, `securityContext`, `priority=CLASS`, `scheduler=NAME`, `podTemplate=inline`, `podTemplate=https://HOST/*`.",
  ),
  kubernetesBatches: Type.Union([Type.Literal("driver"), Type.Literal("spark-application")], {
    default: "driver",
    description:
      "What a new batch is: `driver` is a pod of this server's own, `spark-application` a SparkApplication that the Spark Operator, which must be there, submits.",
  }),
  kubernetesReach: Type.Union([Type.Literal("auto"), Type.Literal("address"), Type.Literal("port-forward")], {
    default: "auto",
    description: "How drivers are reached: by their pods' addresses, or by port-forward from outside of the cluster.",
  }),
  kubernetesStartTimeoutMs: duration(10 * 60 * SECOND, "A driver whose container does not run after so long is given up; 0: never."),
  kubernetesMasterKey: path("File with the key that links' keys are made from, 32 bytes in base64, older ones below. Default: a Secret."),
  kubeconfig: path("Kubeconfig to use. Default: `KUBECONFIG`, `~/.kube/config`, or the server's pod's own account."),
  kubeContext: text("Context of the kubeconfig. Default: its current one."),
});

const Sessions = Type.Object({
  idleTimeoutMs: duration(HOUR, "A session that is not used for so long ends; 0: never. A session may ask for its own."),
  ttlMs: duration(0, "A session ends at this age; 0: never. A session may ask for its own."),
  orphanTimeoutMs: duration(24 * HOUR, "A driver that no server has asked for so long ends; 0: never."),
  kernelLeaseMs: duration(
    2 * HOUR,
    "A native kernel that was killed leaves its pod or its session at another server for so long, as a laptop may be asleep meanwhile; at least half a minute.",
  ),
  retentionMs: duration(HOUR, "How long an ended session is still listed, with its log."),
  maxSessions: count(0, "Sessions and batches of all users together that may live at once; 0: no limit."),
  maxSessionsPerUser: count(0, "Sessions and batches of one user that may live at once; 0: no limit."),
  maxSchedulesPerUser: count(0, "Schedules that one user may have, suspended ones too; 0: no limit."),
  presets: Type.Record(Type.String({ pattern: PRESET_NAME }), PresetTable, {
    default: {},
    additionalProperties: false,
    format: "presets",
    description: "Named settings that sessions may choose, a table each; what is in one stands below.",
  }),
  defaultPreset: text("Preset of sessions that name none. Default: they have none."),
  startWaitMs: duration(60 * SECOND, "How long a statement waits for a session that is starting before it is refused."),
  heldGetMs: duration(250, "How long the GET of an unfinished statement may be held for its result; 0: not at all."),
  launchDisplayMs: duration(2 * SECOND, "A notebook's cell that waits longer for Spark says what it waits for."),
  sqlRowLimit: count(1_000, "Rows of a result that a statement of kind `sql` shows.", { minimum: 1 }),
  cancelForceMs: duration(0, "A statement that resists its cancellation for so long has its interpreter restarted; 0: only when asked."),
});

const Limits = Type.Object({
  journalLimitBytes: bytes(256 * MIB, "What a session's journal keeps on disk; the oldest records go first.", MIB),
  statementLimitBytes: bytes(64 * MIB, "Output of one statement; more is dropped and the statement says so."),
  memoryLimitBytes: bytes(8 * MIB, "Records that a driver keeps in memory besides."),
  queueLimit: count(10_000, "Statements that may wait in a session.", { minimum: 1 }),
  queueLimitBytes: bytes(256 * MIB, "Code of the statements that wait in a session."),
  uploadLimitBytes: bytes(1024 * MIB, "A file that is uploaded, into a session or to be named by several."),
  bodyLimitBytes: bytes(80 * MIB, "Body of a request that carries code: 64 MiB of code, and what JSON adds to it."),
});

const Uploads = Type.Object({
  uploadDir: path(
    "Directory of the files that users upload for their sessions and batches; servers of one cluster share a volume. Default: for local drivers `uploads` in `runtimeDir`, for pods none: uploads are off.",
  ),
  uploadBucket: text(
    "Bucket of an S3-compatible store to keep them in instead: `s3://NAME` or `s3://NAME/PREFIX`. Credentials are found as AWS's own tools find them.",
    {
      pattern: "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()-]+)*/?$",
    },
  ),
  uploadEndpoint: text("Address of a store that is not AWS's (`https://minio.example:9000`).", { pattern: "^https?://[^\\s]+$" }),
  uploadRegion: text("Region of the bucket. Default: as AWS's own tools find it."),
  uploadQuotaBytes: bytes(10 * 1024 * MIB, "What one user's uploads may take together; 0: no limit.", 0),
  uploadQuotaFiles: count(5_000, "How many uploads one user may have, empty files too; 0: no limit."),
  uploadRetentionMs: duration(
    30 * 24 * HOUR,
    "An upload that no session or batch was made with for so long is removed, unless one that has not ended names it, or a schedule; 0: never.",
  ),
});

const Operation = Type.Object({
  runtimeDir: directory(
    "~/.local/state/longwick",
    "Directory of what runs: sessions, their journals and sockets. One server a directory.",
    {
      variable: "XDG_STATE_HOME",
      under: "longwick",
    },
  ),
  stopGraceMs: duration(
    10 * SECOND,
    "How long a driver that is told to end may take before it is killed; it gives Spark half of that to end.",
  ),
  drainMs: duration(10 * SECOND, "How long a server that is told to end waits for requests under way. Sessions go on without it."),
  logLevel: Type.Union(
    [
      Type.Literal("trace"),
      Type.Literal("debug"),
      Type.Literal("info"),
      Type.Literal("warn"),
      Type.Literal("error"),
      Type.Literal("silent"),
    ],
    { default: "info", description: "Least level of what is logged." },
  ),
});

/** Options as help and reference show them: together what belongs together. */
export const OPTION_GROUPS: Readonly<Record<string, TObject>> = {
  Listening,
  "Who may": Users,
  Spark,
  Kubernetes,
  Sessions,
  Limits,
  Uploads,
  Operation,
};

/** Durations in milliseconds, sizes in bytes, paths absolute. */
export const Config = Type.Object({
  ...Listening.properties,
  ...Users.properties,
  ...Spark.properties,
  ...Kubernetes.properties,
  ...Sessions.properties,
  ...Limits.properties,
  ...Uploads.properties,
  ...Operation.properties,
});
export type Config = Static<typeof Config>;
export type OptionName = keyof Config;

/** `idleTimeoutMs` as a flag: `--idle-timeout-ms`. */
export const flagOf = (name: string): string => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
/** `idleTimeoutMs` as a variable: `LONGWICK_IDLE_TIMEOUT_MS`. */
export const variableOf = (name: string): string => `LONGWICK_${name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;

/** How an option's text is read. */
export type OptionKind = "text" | "path" | "command" | "flag" | "count" | "duration" | "bytes" | "list" | "pairs" | "presets" | "choice";

/** What help, reference and reading need to know of an option, taken from its schema. */
export interface Option {
  readonly name: OptionName;
  readonly kind: OptionKind;
  /** Of a list: whether its items are paths. */
  readonly paths: boolean;
  readonly choices: readonly string[];
  readonly fallback: Fallback | null;
  readonly default: unknown;
  readonly description: string;
  readonly schema: unknown;
}

interface Property {
  readonly type?: string;
  readonly const?: string;
  readonly format?: string;
  readonly anyOf?: readonly { readonly const?: string }[];
  readonly fallback?: Fallback;
  readonly default?: unknown;
  readonly description?: string;
}

const choicesOf = ({ const: only, anyOf = [] }: Property): readonly string[] =>
  only === undefined ? anyOf.flatMap((one) => one.const ?? []) : [only];

const kindOf = (property: Property): OptionKind => {
  const { type, format } = property;
  if (type === "boolean") return "flag";
  if (type === "array") return "list";
  if (type === "object") return format === "presets" ? "presets" : "pairs";
  if (type === "integer") return format === "duration" || format === "bytes" ? format : "count";
  if (choicesOf(property).length > 0) return "choice";
  return format === "path" || format === "command" ? format : "text";
};

const readOption = (name: string, property: Property): Option => ({
  // The names come from Config's own properties.
  name: name as OptionName,
  kind: kindOf(property),
  paths: property.format === "path",
  choices: choicesOf(property),
  fallback: property.fallback ?? null,
  default: property.default,
  description: property.description ?? "",
  schema: property,
});

/** The options of one group (a member of OPTION_GROUPS), or of all. */
export const optionsOf = (group: TObject): readonly Option[] =>
  // A TypeBox schema is a JSON Schema object; Property names the few fields of it that the builders above set.
  Object.entries(group.properties).map(([name, property]) => readOption(name, property as Property));
export const OPTIONS: readonly Option[] = optionsOf(Config);
