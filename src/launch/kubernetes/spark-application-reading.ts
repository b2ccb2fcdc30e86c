import type { SessionEnd } from "../../core/ports.ts";
import { type DriverPod, endOfGonePod, type PodEnd, type PodReading, readPod } from "./pod-reading.ts";
import type { Stored } from "./watch.ts";

/** The parts of a SparkApplication that tell how its batch is. */
export interface SparkApplication extends Stored {
  readonly spec?: { readonly sparkConf?: Readonly<Record<string, string>> };
  readonly status?: {
    readonly sparkApplicationId?: string;
    readonly executionAttempts?: number;
    readonly applicationState?: { readonly state: string; readonly errorMessage?: string };
  };
}

/** What a SparkApplication says of its batch. */
export type ApplicationReading =
  /** `held`: because somebody wants it to wait. */
  | { readonly is: "pending"; readonly reason: string; readonly held: boolean }
  /** `trouble`: what is wrong all the same; null when nothing is. */
  | { readonly is: "running"; readonly trouble: string | null }
  /** It cannot go well any more. */
  | { readonly is: "hopeless"; readonly reason: string }
  | { readonly is: "over"; readonly end: PodEnd };

/** What is known besides of its driver's pod. */
export interface DriverSight {
  readonly pod: DriverPod | null;
  /** As it was last, once it has gone. */
  readonly gone: DriverPod | null;
  /** The newest warning that Kubernetes gave about it. */
  readonly warning: string | null;
  /** The last lines it wrote, as far as they have been read. */
  readonly lines: readonly string[];
}

/** The states of the operator's machine in which no driver runs (api/v1beta2, ApplicationStateType), each with what is waited for. */
const PENDING: ReadonlyMap<string, string> = new Map([
  // The operator writes nothing before its spark-submit has ended.
  ["", "The SparkApplication waits for the Spark Operator to submit it."],
  ["PENDING_SUBMISSION", "The Spark Operator is about to submit the application."],
  ["SUBMITTED", "The Spark Operator has submitted the application; its driver's pod is waited for."],
  ["PENDING_RERUN", "The Spark Operator is about to submit the application again."],
  ["INVALIDATING", "The SparkApplication was changed; the Spark Operator ends its driver and submits it again."],
  ["SUSPENDING", "The SparkApplication is being suspended."],
  ["SUSPENDED", "The SparkApplication is suspended (spec.suspend); it goes on when somebody resumes it."],
  ["RESUMING", "The SparkApplication is being resumed."],
]);

const HELD: ReadonlySet<string> = new Set(["SUSPENDING", "SUSPENDED"]);

/** The word of the operator's machine that an application is in; empty: it has not been taken up. */
export const stateOf = ({ status }: SparkApplication): string => status?.applicationState?.state ?? "";

export const readApplication = (application: SparkApplication, sight: DriverSight): ApplicationReading => {
  const state = stateOf(application);
  const waits = PENDING.get(state);
  if (waits !== undefined) return readPending(waits, state, sight);
  switch (state) {
    case "RUNNING":
      return { is: "running", trouble: troubleOf(application, sight) };
    case "UNKNOWN":
      return { is: "running", trouble: "The Spark Operator has lost sight of the driver's pod (UNKNOWN)." };
    case "SUCCEEDING":
    case "COMPLETED":
      return { is: "over", end: { ...succeeded, appId: appIdOf(application) } };
    case "SUBMISSION_FAILED":
    case "FAILING":
    case "FAILED":
      return { is: "over", end: { ...failedEnd(application, sight), appId: appIdOf(application) } };
    default:
      return { is: "running", trouble: `The SparkApplication is in state ${state}, which is not known here.` };
  }
};

/** How a batch has ended: as its SparkApplication says, else because somebody deleted that. */
export const endOfApplication = (application: SparkApplication, sight: DriverSight): PodEnd => {
  const reading = readApplication(application, sight);
  if (reading.is === "over") return reading.end;
  const reason = `SparkApplication ${application.metadata.name} was deleted.`;
  return { state: "dead", reason, logTail: null, appId: appIdOf(application), cause: "driver-lost" };
};

const appIdOf = ({ status }: SparkApplication): string | null => status?.sparkApplicationId || null;

/** In other states the pod may be one that the operator is about to end. */
const OWN_DRIVER: ReadonlySet<string> = new Set(["", "SUBMITTED"]);

const readPending = (waits: string, state: string, { pod, warning }: DriverSight): ApplicationReading => {
  const reading = pod === null || !OWN_DRIVER.has(state) ? null : readPod(pod, warning);
  if (reading?.is === "hopeless") return { is: "hopeless", reason: reading.reason };
  return { is: "pending", reason: reading === null ? waits : (pendingWords(reading) ?? waits), held: HELD.has(state) };
};

const HAS_ENDED = "The driver's pod has ended; the Spark Operator has not said so yet.";

const pendingWords = (reading: PodReading): string | null => {
  switch (reading.is) {
    case "pending":
      return reading.reason;
    case "running":
      return "The driver's container runs; the Spark Operator has not said so yet.";
    case "over":
      return HAS_ENDED;
    default:
      return null;
  }
};

const troubleOf = ({ metadata }: SparkApplication, { pod, warning }: DriverSight): string | null => {
  if (metadata.deletionTimestamp !== undefined) return "The SparkApplication is being deleted.";
  const reading = pod === null ? null : readPod(pod, warning);
  if (reading?.is === "running") return reading.trouble;
  return reading?.is === "over" ? HAS_ENDED : null;
};

type End = Omit<PodEnd, "appId">;

const succeeded: End = { state: "success", reason: "The application has ended.", logTail: null, exitCode: 0 };

/** Whether the driver's container has begun to run: what it writes can be read, and what it does is done. */
export const driverBegan = ({ spec, status }: DriverPod): boolean => {
  const state = status?.containerStatuses?.find(({ name }) => name === spec.containers[0]?.name)?.state;
  return state?.running !== undefined || state?.terminated !== undefined;
};

/** The highest exit code that is no signal's. */
const SIGNAL_BASE = 128;

const failedEnd = ({ status }: SparkApplication, { pod, gone, lines }: DriverSight): End => {
  const message = status?.applicationState?.errorMessage ?? "";
  // Counted by the operator once spark-submit has made a driver.
  const last = pod ?? gone;
  if ((status?.executionAttempts ?? 0) === 0) {
    // A spark-submit that was cut short, or that the operator repeated after its own restart, may have made one all the same.
    const ran = last !== null && driverBegan(last);
    const what = ran ? "gave up the application, whose driver ran" : "could not submit the application";
    const reason = `The Spark Operator ${what}: ${submissionWords(message)}`;
    return { state: "dead", reason, logTail: null, cause: ran ? "driver-lost" : "submission-refused" };
  }
  const exitCode = (last === null ? undefined : exitCodeOf(last)) ?? exitCodeIn(message);
  const taken = last === null ? null : endOfGonePod(last);
  // A pod that was taken away may have the exit code of its end too.
  const own = last === null || (last.status?.reason === undefined && last.metadata.deletionTimestamp === undefined);
  if (own && exitCode !== undefined && exitCode > 0 && exitCode <= SIGNAL_BASE && !/\bOOMKilled\b/.test(message)) {
    const complaint = lastComplaint(lines);
    const reason = `The application exited with code ${exitCode}${complaint === "" ? "" : `: ${complaint.replace(/\.$/, "")}`}.`;
    return { state: "dead", reason, logTail: null, cause: "non-zero-exit", exitCode };
  }
  if (taken !== null && taken.state !== "success") return { ...taken, cause: taken.cause ?? "driver-lost" };
  return {
    state: "dead",
    reason: `The Spark Operator says that the driver failed: ${sentence(message)}`,
    logTail: null,
    cause: "driver-lost",
  };
};

const exitCodeOf = ({ spec, status }: DriverPod): number | undefined =>
  status?.containerStatuses?.find(({ name }) => name === spec.containers[0]?.name)?.state?.terminated?.exitCode;

/** As the operator writes it (updateDriverState). */
const exitCodeIn = (message: string): number | undefined => {
  const [, code] = /\bExitCode: (\d+)/.exec(message) ?? [];
  return code === undefined ? undefined : Number(code);
};

/** What an application wrote last of why it fails, as a driver of ours tells it: the end of a Python traceback, else a JVM's exception. */
export const lastComplaint = (lines: SessionEnd["logTail"]): string => {
  const traceback = lines.findLastIndex((line) => line.startsWith("Traceback (most recent call last):"));
  const raised = traceback === -1 ? undefined : lines.slice(traceback + 1).find((line) => /^\S/.test(line));
  const missing = lines.findLast((line) => /^\S*python\S*: can't open file /.test(line));
  return (raised ?? missing ?? thrownIn(lines)).trim().slice(0, 500);
};

/** `Error:` is how spark-submit says that it finds no such class. */
const WHY = /^(?:Exception in thread "main"|Error:) (.+)/;
const CAUSE = /^Caused by: (.+)/;

const thrownIn = (lines: readonly string[]): string => {
  const at = lines.findLastIndex((line) => WHY.test(line));
  if (at === -1) return "";
  const [why = "", ...causes] = [...matches(WHY, lines.slice(at, at + 1)), ...matches(CAUSE, lines.slice(at + 1))];
  const innermost = causes.at(-1);
  return innermost === undefined ? why : `${why}, caused by ${innermost}`;
};

const matches = (pattern: RegExp, lines: readonly string[]): readonly string[] => lines.flatMap((line) => pattern.exec(line)?.[1] ?? []);

const THROWN = /^\s*(?:Exception in thread "[^"]*"|Caused by:|Error:) (.+)/;

/** spark-submit's whole standard error is in the message: what the API server or Spark said is what counts. */
const submissionWords = (message: string): string => {
  const [, refusal] = /\bMessage: (.+?)(?:\. Received status: |\n|$)/s.exec(message) ?? [];
  return sentence(refusal ?? matches(THROWN, message.split("\n")).at(-1) ?? message);
};

const sentence = (text: string): string => {
  const said = text.trim().replaceAll(/\s+/g, " ").slice(0, 1_000);
  return said === "" ? "no reason is given." : `${said}${/[.!]$/.test(said) ? "" : "."}`;
};
