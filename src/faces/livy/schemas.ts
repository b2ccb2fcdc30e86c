import { type Static, type TSchema, Type } from "typebox";
import { END_CAUSES } from "../../core/states.ts";

/**
 * What travels on the Livy face, as its OpenAPI document shows it. Requests are read leniently: clients send numbers as text, null for
 * "not asked for" and fields of their own; answers hold Livy 0.9's fields to the letter (recorded in `test/fixtures/livy-0.9.0.jsonl`).
 */

/** The longest body of what may name many resources. */
export const RESOURCES_LIMIT_BYTES = 4 * 1024 * 1024;

const INT32_MAX = 2_147_483_647;

const nullable = <Schema extends TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);
const asked = <Schema extends TSchema>(schema: Schema, description: string) =>
  Type.Optional(Type.Union([schema, Type.Null()], { description }));
const wholeNumber = Type.Union([Type.Integer({ minimum: 0, maximum: INT32_MAX }), Type.String({ pattern: "^\\s*\\d{1,9}\\s*$" })]);
const quantity = Type.Union([Type.String(), Type.Number()]);
const uris = Type.Array(Type.String());

// ── Requests ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What Spark shall have, whatever runs in it. */
const RESOURCES = {
  conf: asked(
    Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()])),
    "Spark configuration. Values of secret keys are never shown again.",
  ),
  jars: asked(uris, "Jars for driver and executors."),
  pyFiles: asked(uris, "Python files and archives for driver and executors."),
  files: asked(uris, "Files for the working directory of each executor."),
  archives: asked(uris, "Archives unpacked in the working directory of each executor; `uri#name` names the directory."),
  driverMemory: asked(quantity, "As Spark writes it: `2g`, `512m`; a bare number is MiB."),
  driverCores: asked(wholeNumber, "Cores of the driver; 0: not asked for."),
  executorMemory: asked(quantity, "As driverMemory."),
  executorCores: asked(wholeNumber, "Cores of each executor; 0: not asked for."),
  numExecutors: asked(wholeNumber, "Executors; 0: not asked for."),
  queue: asked(Type.String(), "A scheduler's queue, where there is one."),
};

export const CreateSession = Type.Object(
  {
    preset: asked(Type.String(), "Longwick's own: a named set of settings beneath those asked for here; `/presets` lists them."),
    kind: asked(Type.String(), "`pyspark` (or `python`), `sql`, or `shared`, the default: then each statement names its kind."),
    name: asked(Type.String(), "Unique among living sessions, usable wherever an id is; not empty and not a number."),
    proxyUser: asked(Type.String(), "Whom Spark runs as; for those who may impersonate."),
    ...RESOURCES,
    heartbeatTimeoutInSecond: asked(wholeNumber, "The session ends when nobody asked for it in so many seconds; 0: never."),
    ttl: asked(quantity, "The session ends so long after its start: `2h`, `30m`, `45s`; a bare number is milliseconds."),
    idleTimeout: asked(quantity, "The session ends when it was idle for so long; written like ttl."),
  },
  { description: "A session asked for. Unknown fields are ignored and named in the session's log." },
);
export type CreateSession = Static<typeof CreateSession>;

/** Livy takes any value for an argument and makes text of it. */
const argument = Type.Union([Type.String(), Type.Number(), Type.Boolean()]);

export const CreateBatch = Type.Object(
  {
    file: asked(Type.String(), "The application: a Python file, or a jar, where the driver can read it. Must be given."),
    className: asked(Type.String(), "The main class of a JVM application; unless its jar names one."),
    args: asked(Type.Array(argument), "Its arguments."),
    preset: asked(Type.String(), "Longwick's own: a named set of settings beneath those asked for here; `/presets` lists them."),
    retry: asked(
      Type.Object({
        maxAttempts: asked(wholeNumber, "How often it is begun at most; 1, the default: it is not tried again."),
        backoffSeconds: asked(wholeNumber, "How long after an attempt's end the next one begins; twice as long after each later one."),
        on: asked(
          Type.Array(Type.String()),
          "After which ends it is tried again: `submission-refused` (the driver never ran), `driver-lost` (pod or process were taken away), `non-zero-exit`; all of these when absent.",
        ),
      }),
      "Longwick's own: when it is to be tried again.",
    ),
    name: asked(Type.String(), "Unique among living sessions and batches, usable wherever an id is; not empty and not a number."),
    proxyUser: asked(Type.String(), "Whom Spark runs as; for those who may impersonate."),
    ...RESOURCES,
    ttl: asked(quantity, "Longwick's own: the batch is ended so long after it was accepted: `2h`, `30m`; a bare number is milliseconds."),
  },
  { description: "A batch asked for. Unknown fields are ignored and named in the batch's log." },
);
export type CreateBatch = Static<typeof CreateBatch>;

const Code = Type.Union([Type.String(), Type.Number(), Type.Boolean()], { description: "What to run." });

export const CreateStatement = Type.Object({
  code: Code,
  kind: asked(Type.String(), "Language of the code; the session's kind when absent."),
});

export const Completion = Type.Object({
  code: Code,
  kind: asked(Type.String(), "Language of the code; the session's kind when absent."),
  cursor: asked(wholeNumber, "Where the cursor stands, in code points; the end of the code when absent."),
});

export const CancelStatement = nullable(
  Type.Object({
    restart: asked(Type.Boolean(), "Restart the interpreter at once instead of interrupting it; variables are lost, Spark stays."),
  }),
);

export const AddResource = Type.Object({
  uri: Type.String({ minLength: 1, description: "What to add; local paths only from allowed directories." }),
});

// ── Where ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Negative numbers are well-formed to Livy: they name nothing, or count as 0. */
const int32 = (description: string) => Type.Integer({ minimum: -INT32_MAX - 1, maximum: INT32_MAX, description });

export const SessionParams = Type.Object({ session: Type.String({ description: "A session's id or name." }) });
export const StatementParams = Type.Object({
  session: Type.String({ description: "A session's id or name." }),
  statement: int32("A statement's id."),
});
export const BatchParams = Type.Object({ batch: Type.String({ description: "A batch's id or name." }) });
export const PageQuery = Type.Object({
  from: Type.Optional(int32("Position of the first one, from 0.")),
  size: Type.Optional(int32("How many at most.")),
});
export const BatchesQuery = Type.Object({
  ...PageQuery.properties,
  schedule: Type.Optional(Type.String({ description: "Longwick's own: only the runs of the schedule of this name or uid." })),
});
export const StatementsQuery = Type.Object({
  ...PageQuery.properties,
  order: Type.Optional(Type.String({ description: "`desc`: newest first." })),
});
export const StatementQuery = Type.Object({
  wait: Type.Optional(
    Type.String({
      description:
        "How long the answer may wait for the statement's end: `10s`, `500ms`, `0`; a bare number is milliseconds. At most a minute.",
    }),
  ),
});
export const CreateQuery = Type.Object({
  doAs: Type.Optional(Type.String({ description: "Goes before proxyUser." })),
  dryRun: Type.Optional(Type.String({ description: "`true`: say what would be started, and start nothing." })),
});

// ── Answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const SessionState = Type.Enum([
  "not_started",
  "starting",
  "recovering",
  "idle",
  "running",
  "busy",
  "shutting_down",
  "error",
  "dead",
  "killed",
  "success",
]);
const text = nullable(Type.String());

/** What we know beyond Livy. */
const Extras = Type.Object({
  uid: Type.String({ description: "UUID of the session; the id is unique on this server, the uid everywhere." }),
  createdMs: Type.Integer({ description: "Unix time in milliseconds." }),
  endedMs: Type.Integer({ description: "0 while it lives." }),
  reason: nullable(Type.String({ description: "Why it ended." })),
  preset: nullable(Type.String({ description: "The preset whose settings lie beneath those asked for." })),
  executors: Type.Integer({ description: "Executors that have come." }),
  spark: nullable(Type.String({ description: "Version of Spark." })),
  python: nullable(Type.String({ description: "Version of Python." })),
  sparkUser: text,
  clients: Type.Array(Type.Object({ face: Type.String(), user: Type.Union([Type.String(), Type.Null()]), sinceMs: Type.Integer() }), {
    description: "Who has it open now.",
  }),
});

export const SessionObject = Type.Object({
  id: Type.Integer(),
  name: text,
  appId: text,
  owner: text,
  proxyUser: text,
  state: SessionState,
  kind: Type.Enum(["shared", "pyspark", "sql", "spark", "sparkr"]),
  appInfo: Type.Object({ driverLogUrl: text, sparkUiUrl: text, executorLogUrls: text }),
  log: Type.Array(Type.String(), { description: "The last ten lines." }),
  ttl: text,
  idleTimeout: text,
  driverMemory: text,
  driverCores: Type.Integer(),
  executorMemory: text,
  executorCores: Type.Integer(),
  conf: Type.Record(Type.String(), Type.String()),
  archives: uris,
  files: uris,
  heartbeatTimeoutInSecond: Type.Integer(),
  jars: uris,
  numExecutors: Type.Integer(),
  pyFiles: uris,
  queue: text,
  longwick: Extras,
});
export type SessionObject = Static<typeof SessionObject>;

const EndFields = {
  state: text,
  reason: nullable(Type.String({ description: "Why it ended." })),
  cause: nullable(
    Type.Enum([...END_CAUSES], { description: "Whose fault the end is; null: nobody's, or it was wished, or it has not come." }),
  ),
  exitCode: nullable(Type.Integer({ description: "The application's own; null: it did not exit by itself." })),
};

export const BatchObject = Type.Object({
  id: Type.Integer(),
  name: text,
  owner: text,
  proxyUser: text,
  state: Type.Enum(["starting", "running", "success", "dead", "killed"]),
  appId: text,
  appInfo: SessionObject.properties.appInfo,
  log: Type.Array(Type.String(), { description: "The last ten lines." }),
  longwick: Type.Object({
    uid: Type.String({ description: "UUID of the batch; the id is unique on this server, the uid everywhere." }),
    createdMs: Type.Integer({ description: "Unix time in milliseconds." }),
    endedMs: Type.Integer({ description: "0 while it lives." }),
    reason: EndFields.reason,
    cause: EndFields.cause,
    exitCode: EndFields.exitCode,
    preset: nullable(Type.String({ description: "The preset whose settings lie beneath those asked for." })),
    spark: nullable(Type.String({ description: "Version of Spark." })),
    sparkUser: text,
    historyUrl: nullable(Type.String({ description: "Where the history server shows it, once it has ended." })),
    file: Type.String(),
    className: text,
    args: Type.Array(Type.String()),
    schedule: nullable(
      Type.Object(
        { name: Type.String(), uid: Type.String(), dueMs: Type.Integer() },
        { description: "The schedule it is a run of; null: somebody asked for it." },
      ),
    ),
    retry: Type.Object({ maxAttempts: Type.Integer(), backoffSeconds: Type.Number(), on: Type.Array(Type.String()) }),
    attempts: Type.Array(
      Type.Object({
        attempt: Type.Integer({ description: "From 1." }),
        startedMs: Type.Integer(),
        endedMs: Type.Integer({ description: "0: it has not." }),
        ...EndFields,
        appId: text,
      }),
      { description: "Every try, the last one too." },
    ),
  }),
});
export type BatchObject = Static<typeof BatchObject>;

export const ExecutorList = Type.Object({
  executors: Type.Array(
    Type.Object({ name: Type.String(), state: Type.String({ description: "As Kubernetes has it." }), logUrl: Type.String() }),
  ),
});

export const BatchList = Type.Object({ from: Type.Integer(), total: Type.Integer(), sessions: Type.Array(BatchObject) });
export const BatchStateObject = Type.Object({ id: Type.Integer(), state: BatchObject.properties.state });

export const SessionPlan = Type.Object(
  {
    owner: text,
    name: text,
    proxyUser: text,
    kind: SessionObject.properties.kind,
    preset: text,
    ttlMs: Type.Integer({ description: "0: no limit." }),
    idleTimeoutMs: Type.Integer({ description: "0: no limit." }),
    log: Type.Array(Type.String(), { description: "What the session's log would begin with." }),
    conf: Type.Record(
      Type.String(),
      Type.Object({
        value: Type.String(),
        source: Type.String({ description: "`server`, `configuration`, `preset NAME`, `user` (the request's conf) or `field NAME`." }),
      }),
      { description: "Spark's configuration as the driver is given it, without secrets." },
    ),
    jars: uris,
    pyFiles: uris,
    files: uris,
    archives: uris,
    workload: Type.Record(Type.String(), Type.Unknown(), {
      description:
        "On Kubernetes `namespace`, `pod`, `executorTemplate` and the names of its `secret` and `configMap`; of a process its `command` and the `environment` it has besides the server's own. Where its id and uid would stand are zeros.",
    }),
  },
  { description: "What would be started." },
);
export type SessionPlan = Static<typeof SessionPlan>;

const Sizes = {
  driverMemory: text,
  driverCores: Type.Integer({ description: "0: none is set." }),
  executorMemory: text,
  executorCores: Type.Integer({ description: "0: none is set." }),
  numExecutors: Type.Integer({ description: "0: none is set." }),
};
export const PresetList = Type.Object({
  presets: Type.Array(
    Type.Object({
      name: Type.String(),
      displayName: Type.String(),
      description: Type.String(),
      default: Type.Boolean({ description: "Whether sessions that name none have it." }),
      kind: nullable(SessionObject.properties.kind),
      ...Sizes,
      limits: Type.Object(
        { sessionsPerUser: Type.Integer(), ...Sizes },
        { description: "What its sessions may ask for at most; 0 or null: no limit." },
      ),
    }),
  ),
});
export type PresetList = Static<typeof PresetList>;

export const SessionList = Type.Object({ from: Type.Integer(), total: Type.Integer(), sessions: Type.Array(SessionObject) });
export const SessionStateObject = Type.Object({ id: Type.Integer(), state: SessionState });
export const SessionLog = Type.Object({ id: Type.Integer(), from: Type.Integer(), total: Type.Integer(), log: Type.Array(Type.String()) });

const Data = Type.Record(Type.String(), Type.Unknown(), { description: "MIME type → value; `text/plain` is what was printed." });
export const StatementOutput = Type.Union([
  Type.Object({ status: Type.Literal("ok"), execution_count: Type.Integer(), data: Data }),
  Type.Object({
    status: Type.Literal("error"),
    execution_count: Type.Integer(),
    ename: Type.String(),
    evalue: Type.String(),
    traceback: Type.Array(Type.String(), { description: "Each line with its newline." }),
    data: Type.Optional(Data),
  }),
]);
export type StatementOutput = Static<typeof StatementOutput>;

export const StatementObject = Type.Object({
  id: Type.Integer(),
  code: Type.String(),
  state: Type.Enum(["waiting", "running", "available", "cancelling", "cancelled"]),
  output: nullable(StatementOutput),
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  started: Type.Integer({ description: "Unix time in milliseconds; 0: not yet." }),
  completed: Type.Integer({ description: "Unix time in milliseconds; 0: not yet." }),
});
export type StatementObject = Static<typeof StatementObject>;

export const StatementList = Type.Object({ total_statements: Type.Integer(), statements: Type.Array(StatementObject) });
export const Candidates = Type.Object({ candidates: Type.Array(Type.String()) });
export const Message = Type.Object({ msg: Type.String() });

export const Version = Type.Object({
  url: Type.String(),
  branch: Type.String(),
  revision: Type.String(),
  version: Type.String({ description: "The version of Livy whose interface this is." }),
  date: Type.String(),
  user: Type.String(),
  longwick: Type.String({ description: "The version of this server." }),
});
