import type { Claim } from "../core/ports.ts";
import { credentialsIn } from "../core/redaction.ts";
import type { Application, SessionSpec } from "../core/spec.ts";
import { plain } from "./conf.ts";
import type { SparkLaunch } from "./spark.ts";

/** The operator's part of what every driver is told. */
export interface DriverLimits {
  /** A driver that no server has spoken to for so long ends itself; 0: never. */
  readonly orphanTimeoutMs: number;
  /** How long a cancelled statement may resist before its interpreter is restarted; 0: only when asked. */
  readonly cancelForceMs: number;
  readonly sqlRowLimit: number;
  /** Bounds of a driver's records: on disk, of one statement, in memory. */
  readonly journalLimitBytes: number;
  readonly statementLimitBytes: number;
  readonly memoryLimitBytes: number;
  /** Bounds of a driver's queue. */
  readonly queueLimit: number;
  readonly queueLimitBytes: number;
}

/** What depends on where a driver runs; names as in `driver.json`. */
export interface DriverPlace {
  readonly listen: { readonly unix: string } | { readonly tcp: { readonly host: string; readonly port: number } };
  readonly journal: string;
  readonly termination: string;
  readonly workDir: string;
  /** Where code begins, if not in `workDir`. */
  readonly startDir: string | null;
  readonly python: string;
  readonly java: string | null;
  readonly sparkHome: string | null;
  readonly archive: string | null;
}

/** What a supervisor reads at its start: python-shim/spark_shim/config.py. */
export const driverFile = (
  claim: Claim,
  spec: SessionSpec,
  key: Uint8Array,
  place: DriverPlace,
  spark: SparkLaunch,
  limits: DriverLimits,
): Readonly<Record<string, unknown>> => ({
  session: claim.uid,
  id: claim.id,
  key: Buffer.from(key).toString("base64url"),
  listen: place.listen,
  journal: place.journal,
  termination: place.termination,
  workDir: place.workDir,
  startDir: place.startDir,
  kind: spec.kind,
  ...(spec.application === undefined ? {} : { application: toldApplication(spec.application) }),
  name: spec.name,
  python: place.python,
  java: place.java,
  sparkHome: place.sparkHome,
  archive: place.archive,
  proxyUser: spec.proxyUser,
  ...spark,
  conf: plain(spark.conf),
  hidden: hiddenIn(spec, spark),
  idleTimeoutMs: spec.idleTimeoutMs,
  ttlMs: spec.ttlMs,
  heartbeatTimeoutMs: spec.heartbeatTimeoutMs,
  // A batch ends by itself: nobody has to wait for it.
  orphanTimeoutMs: spec.application === undefined ? limits.orphanTimeoutMs : 0,
  createdMs: claim.createdMs,
  cancelForceMs: limits.cancelForceMs,
  sqlRowLimit: limits.sqlRowLimit,
  journalLimitBytes: limits.journalLimitBytes,
  statementLimitBytes: limits.statementLimitBytes,
  memoryLimitBytes: limits.memoryLimitBytes,
  queueLimit: limits.queueLimit,
  queueLimitBytes: limits.queueLimitBytes,
});

/** What the driver leaves out of its log: Spark writes down the addresses that it was given. */
const hiddenIn = (
  { application }: SessionSpec,
  { conf, jars, pyFiles, files, archives }: SparkLaunch,
): Readonly<Record<string, string>> => {
  const { file, args } = application ?? { file: "", args: [] };
  return credentialsIn([file, ...args, ...jars, ...pyFiles, ...files, ...archives, ...Object.values(plain(conf))]);
};

const toldApplication = ({ file, className, args }: Application): object => ({ file, className, args });
