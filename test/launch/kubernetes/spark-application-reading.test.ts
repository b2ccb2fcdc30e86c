import { describe, expect, test } from "vitest";
import type { DriverPod } from "../../../src/launch/kubernetes/pod-reading.ts";
import {
  type DriverSight,
  endOfApplication,
  lastComplaint,
  readApplication,
  type SparkApplication,
} from "../../../src/launch/kubernetes/spark-application-reading.ts";

const NOTHING: DriverSight = { pod: null, gone: null, warning: null, lines: [] };
const METADATA = { name: "longwick-1-abc", uid: "u", resourceVersion: "1" };

const application = (state: string, errorMessage = "", more: Partial<SparkApplication["status"]> = {}): SparkApplication => ({
  metadata: METADATA,
  status: { applicationState: { state, errorMessage }, executionAttempts: 1, sparkApplicationId: "spark-1", ...more },
});

type Status = NonNullable<DriverPod["status"]>;
const podOf = (status: Status, metadata: Partial<DriverPod["metadata"]> = {}): DriverPod => ({
  metadata: { ...METADATA, ...metadata },
  spec: { containers: [{ name: "spark-kubernetes-driver", image: "spark" }] },
  status,
});
const containerIs = (state: NonNullable<NonNullable<Status["containerStatuses"]>[number]["state"]>) => [
  { name: "spark-kubernetes-driver", restartCount: 0, state },
];
const failed = (exitCode: number, reason = "Error", more: Partial<Status> = {}): DriverPod =>
  podOf({ phase: "Failed", containerStatuses: containerIs({ terminated: { exitCode, reason } }), ...more });

describe("a SparkApplication's status", () => {
  test.each([
    ["", /waits for the Spark Operator/],
    ["PENDING_SUBMISSION", /about to submit/],
    ["SUBMITTED", /has submitted/],
    ["PENDING_RERUN", /again/],
    ["INVALIDATING", /was changed/],
    ["SUSPENDING", /suspended/],
    ["SUSPENDED", /suspended/],
    ["RESUMING", /resumed/],
  ])("%s is a batch that starts", (state, reason) => {
    const held = /^SUSPEND/.test(state);
    expect(readApplication(application(state), NOTHING)).toEqual({ is: "pending", reason: expect.stringMatching(reason), held });
  });

  test("that is not there yet is a batch that starts", () => {
    expect(readApplication({ metadata: METADATA }, NOTHING)).toMatchObject({
      is: "pending",
      reason: expect.stringContaining("to submit it"),
    });
  });

  test("RUNNING, UNKNOWN and words of later versions are a batch that runs", () => {
    expect(readApplication(application("RUNNING"), NOTHING)).toEqual({ is: "running", trouble: null });
    expect(readApplication(application("UNKNOWN"), NOTHING)).toMatchObject({ is: "running", trouble: expect.stringContaining("UNKNOWN") });
    expect(readApplication(application("DREAMING"), NOTHING)).toMatchObject({
      is: "running",
      trouble: expect.stringContaining("DREAMING"),
    });
  });

  test.each(["SUCCEEDING", "COMPLETED"])("%s is success", (state) => {
    const end = { state: "success", reason: "The application has ended.", exitCode: 0, appId: "spark-1", logTail: null };
    expect(readApplication(application(state), NOTHING)).toEqual({ is: "over", end });
  });

  test("tells of the driver's pod what that waits for, and when it can never start", () => {
    const waiting = podOf({
      phase: "Pending",
      conditions: [{ type: "PodScheduled", status: "False", message: "0/1 nodes are available" }],
    });
    expect(readApplication(application("SUBMITTED"), { ...NOTHING, pod: waiting })).toMatchObject({
      is: "pending",
      reason: expect.stringContaining("0/1 nodes are available"),
    });
    const never = podOf({
      phase: "Pending",
      containerStatuses: containerIs({ waiting: { reason: "ErrImageNeverPull", message: "not here" } }),
    });
    expect(readApplication(application("SUBMITTED"), { ...NOTHING, pod: never })).toMatchObject({ is: "hopeless" });
  });

  test("is behind its driver's pod while spark-submit is under way, which is told", () => {
    const waits = (state: string, pod: DriverPod) => {
      const reading = readApplication(application(state), { ...NOTHING, pod });
      return reading.is === "pending" ? reading.reason : reading;
    };
    const runs = podOf({ phase: "Running", containerStatuses: containerIs({ running: {} }) });
    for (const state of ["", "SUBMITTED"]) {
      expect(waits(state, runs)).toBe("The driver's container runs; the Spark Operator has not said so yet.");
      expect(waits(state, failed(3))).toBe("The driver's pod has ended; the Spark Operator has not said so yet.");
    }
    // The operator is about to end that one.
    expect(waits("INVALIDATING", runs)).toMatch(/was changed/);
  });

  test.each(["SUBMISSION_FAILED", "FAILED"])("%s without a driver is a refused submission, in the API server's words", (state) => {
    const message =
      'failed to submit spark application: failed to run spark-submit: WARN Utils: …\nException in thread "main" io.fabric8.kubernetes.client.KubernetesClientException: Failure executing: POST at: https://10.0.0.1/api/v1/namespaces/spark/pods. Message: pods "x-driver" is forbidden: exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0. Received status: Status(apiVersion=v1, code=403).';
    expect(readApplication(application(state, message, { executionAttempts: 0 }), NOTHING)).toMatchObject({
      is: "over",
      end: {
        ...{ state: "dead", cause: "submission-refused" },
        reason:
          'The Spark Operator could not submit the application: pods "x-driver" is forbidden: exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0.',
      },
    });
  });

  test("of a submission that failed is told without Java's words before it", () => {
    const message = [
      "failed to run spark-submit: WARNING: Using incubator modules: jdk.incubator.vector",
      '26/11/21 22:27:15 ERROR Client: Please check "kubectl auth can-i create pod" first. It should be yes.',
      'Exception in thread "main" io.fabric8.kubernetes.client.KubernetesClientException: The timeout of 10000 ms has been exceeded',
      "\tat io.fabric8.kubernetes.client.dsl.internal.OperationSupport.waitForResult(OperationSupport.java:509)",
      "Caused by: io.vertx.core.impl.NoStackTraceTimeoutException: The timeout of 10000 ms has been exceeded",
      "26/11/21 22:27:16 INFO ShutdownHookManager: Shutdown hook called",
    ].join("\n");
    expect(readApplication(application("SUBMISSION_FAILED", message, { executionAttempts: 0 }), NOTHING)).toMatchObject({
      end: {
        reason:
          "The Spark Operator could not submit the application: io.vertx.core.impl.NoStackTraceTimeoutException: The timeout of 10000 ms has been exceeded.",
      },
    });
  });

  test("of a submission that failed although its driver ran is a driver that was lost", () => {
    const message = "failed to submit spark application: failed to run spark-submit: driver pod already exist";
    const over = (sight: Partial<DriverSight>) =>
      readApplication(application("SUBMISSION_FAILED", message, { executionAttempts: 0 }), { ...NOTHING, ...sight });
    const runs = podOf({ phase: "Running", containerStatuses: containerIs({ running: {} }) });
    const end = {
      ...{ state: "dead", cause: "driver-lost" },
      reason: `The Spark Operator gave up the application, whose driver ran: ${message}.`,
    };
    expect(over({ pod: runs })).toMatchObject({ is: "over", end });
    expect(over({ gone: runs })).toMatchObject({ is: "over", end });
    expect(over({ pod: podOf({ phase: "Pending" }) })).toMatchObject({ is: "over", end: { cause: "submission-refused" } });
  });

  test.each(["FAILING", "FAILED"])("%s with an exit code is the application's own failure, with its last error", (state) => {
    const lines = ["Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: no such luck", "INFO ShutdownHookManager"];
    const end = {
      ...{ state: "dead", cause: "non-zero-exit", exitCode: 3, appId: "spark-1" },
      reason: "The application exited with code 3: ValueError: no such luck.",
    };
    const message = "driver container failed with ExitCode: 3, Reason: Error";
    expect(readApplication(application(state, message), { ...NOTHING, pod: failed(3), lines })).toMatchObject({ is: "over", end });
    const untold = { ...end, reason: "The application exited with code 3." };
    expect(readApplication(application(state, message), NOTHING)).toMatchObject({ is: "over", end: untold });
  });

  test("tells a driver that was taken away from one that failed", () => {
    const over = (sight: Partial<DriverSight>, message: string) => {
      const reading = readApplication(application("FAILED", message), { ...NOTHING, ...sight });
      return reading.is === "over" ? reading.end : reading;
    };
    expect(over({ pod: failed(137, "OOMKilled") }, "driver container failed with ExitCode: 137, Reason: OOMKilled")).toMatchObject({
      ...{ cause: "driver-lost", reason: expect.stringContaining("OOMKilled") },
    });
    expect(over({ pod: failed(1, "Error", { reason: "Evicted", message: "The node was low on memory" }) }, "x")).toMatchObject({
      ...{ cause: "driver-lost", reason: expect.stringContaining("evicted") },
    });
    expect(over({ gone: podOf({ phase: "Running" }) }, "driver pod not found")).toMatchObject({
      ...{ cause: "driver-lost", reason: "The driver's pod was deleted." },
    });
    expect(over({}, "driver pod not found")).toMatchObject({
      ...{ cause: "driver-lost", reason: "The Spark Operator says that the driver failed: driver pod not found." },
    });
    expect(over({ pod: failed(143) }, "driver container failed with ExitCode: 143, Reason: Error")).toMatchObject({ cause: "driver-lost" });
  });

  test("of one that is gone is its end, else that it was deleted", () => {
    expect(endOfApplication(application("COMPLETED"), NOTHING)).toMatchObject({ state: "success" });
    expect(endOfApplication(application("RUNNING"), NOTHING)).toMatchObject({
      ...{ state: "dead", cause: "driver-lost", reason: "SparkApplication longwick-1-abc was deleted." },
    });
  });
});

test("what an application complained of last is the end of its traceback, else the JVM's exception", () => {
  expect(lastComplaint([])).toBe("");
  expect(lastComplaint(["fine", 'Exception in thread "main" java.lang.Error: broken', "\tat x"])).toBe("java.lang.Error: broken");
  const thrown = [
    'Exception in thread "main" java.lang.Error: broken',
    "\tat x",
    "Caused by: a.B: outer",
    "\tat y",
    "Caused by: c.D: inner",
  ];
  expect(lastComplaint(["Caused by: e.F: of something else", ...thrown])).toBe("java.lang.Error: broken, caused by c.D: inner");
  expect(lastComplaint(["Error: Failed to load class com.example.App.", "INFO ShutdownHookManager"])).toBe(
    "Failed to load class com.example.App.",
  );
  expect(lastComplaint(["python3: can't open file '/x.py': [Errno 2] No such file", "INFO"])).toContain("can't open file");
  const both = ["Traceback (most recent call last):", "  at x", "KeyError: 'a'", 'Exception in thread "main" SparkUserAppException: 1'];
  expect(lastComplaint(both)).toBe("KeyError: 'a'");
});
