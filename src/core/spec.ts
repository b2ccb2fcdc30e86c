import { type Static, Type } from "typebox";
import { END_CAUSES } from "./states.ts";

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
