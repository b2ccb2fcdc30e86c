import { describe, expect, test } from "vitest";
import { type DriverPod, readGonePod, readPod } from "../../../src/launch/kubernetes/pod-reading.ts";

const podOf = (status: DriverPod["status"]): DriverPod => ({
  metadata: { name: "p", uid: "u", resourceVersion: "1" },
  spec: { nodeName: "node-1", containers: [{ name: "driver", image: "repo/spark:1" }, { name: "side" }] },
  ...(status === undefined ? {} : { status }),
});
const container = (state: object, more: { restartCount?: number; lastState?: object } = {}): DriverPod =>
  podOf({
    phase: "Pending",
    containerStatuses: [
      { name: "side", restartCount: 9, state: { running: {} } },
      { name: "driver", restartCount: 0, ...more, state },
    ],
  });

describe("a driver's pod that does not run yet says", () => {
  test.each([
    ["nothing of it is known", podOf(undefined), null, "waits for a node"],
    [
      "no node suits",
      podOf({
        conditions: [
          { type: "PodScheduled", status: "False", reason: "Unschedulable", message: "0/3 nodes are available: 3 Insufficient cpu" },
        ],
      }),
      null,
      "waits for a node: 0/3 nodes are available: 3 Insufficient cpu.",
    ],
    ["the container is being made", container({ waiting: { reason: "ContainerCreating" } }), null, "is being made"],
    [
      "a volume is missing",
      container({ waiting: { reason: "ContainerCreating" } }),
      "FailedMount: no such secret",
      "FailedMount: no such secret",
    ],
    [
      "the registry does not answer",
      container({ waiting: { reason: "ImagePullBackOff", message: "Back-off" } }),
      "Failed: dial tcp: timeout",
      "image repo/spark:1 cannot be pulled: Failed: dial tcp: timeout.",
    ],
    [
      "an init container fails",
      podOf({
        initContainerStatuses: [
          {
            name: "prepare",
            restartCount: 1,
            state: { waiting: { reason: "CrashLoopBackOff" } },
            lastState: { terminated: { exitCode: 3 } },
          },
        ],
      }),
      null,
      "Init container prepare of the driver's pod failed and is started again: exit code 3.",
    ],
    [
      "an init container that failed three times is tried once more",
      podOf({
        initContainerStatuses: [{ name: "prepare", restartCount: 3, state: { running: {} }, lastState: { terminated: { exitCode: 3 } } }],
      }),
      null,
      "Init container prepare of the driver's pod failed and is started again: exit code 3.",
    ],
    [
      "an init container's image is missing",
      podOf({
        initContainerStatuses: [{ name: "prepare", restartCount: 0, state: { waiting: { reason: "ErrImagePull", message: "no" } } }],
      }),
      null,
      "The image of init container prepare cannot be pulled: no.",
    ],
    [
      "an init container has run",
      podOf({
        initContainerStatuses: [
          { name: "first", restartCount: 1, state: { terminated: { exitCode: 0 } }, lastState: { terminated: { exitCode: 3 } } },
          { name: "second", restartCount: 0, state: { running: {} } },
        ],
      }),
      null,
      "Init container second of the driver's pod runs.",
    ],
  ])("that %s", (_, pod, warning, words) => {
    expect(readPod(pod, warning)).toEqual({ is: "pending", reason: expect.stringContaining(words) });
  });
});

describe("a driver's pod is hopeless when", () => {
  test.each([
    ["the image's name is none", container({ waiting: { reason: "InvalidImageName", message: "bad" } }), null],
    ["the image may not be pulled", container({ waiting: { reason: "ErrImageNeverPull", message: "absent" } }), null],
    ["the image does not exist", container({ waiting: { reason: "ErrImagePull", message: "manifest unknown" } }), null],
    ["the registry refuses, as the newest warning tells", container({ waiting: { reason: "ImagePullBackOff" } }), "Failed: 403 Forbidden"],
    [
      "there is no Python in it",
      container({ waiting: { reason: "RunContainerError", message: 'exec: "python3": executable file not found in $PATH' } }),
      null,
    ],
    ["there is no such registry", container({ waiting: { reason: "ErrImagePull", message: "lookup r.example: no such host" } }), null],
    ["the container cannot be started", container({ terminated: { exitCode: 128, reason: "StartError", message: "no" } }), null],
  ])("%s", (_, pod, warning) => {
    expect(readPod(pod, warning)).toMatchObject({ is: "hopeless", container: "driver" });
  });

  const initially = (status: object): DriverPod => ({
    ...podOf({ phase: "Pending", initContainerStatuses: [{ name: "prepare", restartCount: 0, ...status }] }),
    spec: { initContainers: [{ name: "prepare", image: "repo/tools:1" }], containers: [{ name: "driver" }] },
  });
  test.each([
    [
      "has failed four times",
      { restartCount: 3, state: { waiting: { reason: "CrashLoopBackOff" } }, lastState: { terminated: { exitCode: 3 } } },
      "Init container prepare of the driver's pod failed 4 times: exit code 3.",
    ],
    [
      "has an image that does not exist",
      { state: { waiting: { reason: "ErrImagePull", message: "manifest unknown" } } },
      "The image of init container prepare repo/tools:1 cannot be pulled: manifest unknown.",
    ],
  ])("an init container %s", (_, status, reason) => {
    expect(readPod(initially(status), null)).toEqual({ is: "hopeless", reason, container: "prepare" });
  });
});

describe("what Kubernetes warned of before", () => {
  const waits = (waiting: object, more: object = {}) => ({ ...container({ waiting }), ...more });
  const placed = { spec: { nodeName: "node-1", containers: [{ name: "driver", image: "repo/spark:1" }] } };

  test("says nothing of an image that the registry does not give for a moment", () => {
    const pod = waits({ reason: "ErrImagePull", message: "dial tcp: i/o timeout" });
    expect(readPod(pod, 'FailedMount: secret "keys" not found')).toEqual({
      is: "pending",
      reason: "The driver's image repo/spark:1 cannot be pulled: dial tcp: i/o timeout.",
    });
  });

  test("of nodes is over when it has one", () => {
    const warning = "FailedScheduling: 0/3 nodes are available: 3 Insufficient cpu";
    expect(readPod(waits({ reason: "ContainerCreating" }, placed), warning)).toEqual({
      is: "pending",
      reason: "The driver's container is being made.",
    });
  });
});

describe("a sidecar that Kubernetes runs as an init container", () => {
  const SIDECAR = { name: "proxy", restartPolicy: "Always" };
  const beside = (driver: object, sidecar: object = {}, more: object = {}): DriverPod => ({
    ...podOf({
      phase: "Pending",
      initContainerStatuses: [
        { name: "proxy", restartCount: 0, state: { running: {} }, started: true, ...sidecar },
        { name: "prepare", restartCount: 0, state: { terminated: { exitCode: 0 } }, ...more },
      ],
      containerStatuses: [{ name: "driver", restartCount: 0, ...driver }],
    }),
    spec: { initContainers: [SIDECAR, { name: "prepare" }], containers: [{ name: "driver", image: "repo/spark:1" }] },
  });
  const OFTEN = { restartCount: 9, lastState: { terminated: { exitCode: 1 } } };
  const EARLIER = { terminated: { exitCode: 137, reason: "OOMKilled", finishedAt: "2026-01-01T00:00:00Z" } };

  test("hides nothing of what the driver waits for", () => {
    const missing = beside({ state: { waiting: { reason: "ErrImagePull", message: "manifest unknown" } } });
    expect(readPod(missing, null)).toMatchObject({ is: "hopeless", container: "driver" });
    expect(readPod(beside({ state: { waiting: { reason: "ContainerCreating" } } }), null)).toMatchObject({
      reason: "The driver's container is being made.",
    });
  });

  test("hides no crash of the driver, and its own are no failure to begin", () => {
    const crashed = { restartCount: 2, state: { waiting: { reason: "CrashLoopBackOff" } }, lastState: EARLIER };
    for (const sidecar of [{}, OFTEN]) expect(readPod(beside(crashed, sidecar), null)).toMatchObject({ is: "crashed", crashes: 3 });
  });

  test("hides no init container that comes after it", () => {
    const failing = { state: { waiting: { reason: "ErrImagePull", message: "manifest unknown" } } };
    const waiting = { state: { waiting: { reason: "PodInitializing" } } };
    expect(readPod(beside(waiting, {}, failing), null)).toMatchObject({ is: "hopeless", container: "prepare" });
  });

  test("is waited for until it has started, and fails as any other", () => {
    const waiting = { state: { waiting: { reason: "PodInitializing" } } };
    expect(readPod(beside(waiting, { started: false }), null)).toMatchObject({ reason: "Init container proxy of the driver's pod runs." });
    const failed = { started: false, restartCount: 3, state: { waiting: { reason: "CrashLoopBackOff" } }, lastState: EARLIER };
    expect(readPod(beside(waiting, failed), null)).toMatchObject({ is: "hopeless", container: "proxy" });
  });
});

describe("a driver's container that ended", () => {
  const OOM = { exitCode: 137, reason: "OOMKilled", finishedAt: "2026-01-01T00:00:00Z" };
  test.each([
    ["has not been started again", container({ terminated: OOM }), 1],
    [
      "waits to be started again",
      container({ waiting: { reason: "CrashLoopBackOff" } }, { restartCount: 2, lastState: { terminated: OOM } }),
      3,
    ],
  ])("and %s is a crash, counted, with its cause", (_, pod, crashes) => {
    expect(readPod(pod, null)).toEqual({
      is: "crashed",
      crashes,
      atMs: Date.parse(OOM.finishedAt),
      reason: expect.stringContaining("OOMKilled: it used more memory"),
    });
  });

  test("tells signals, codes and its last line", () => {
    const reason = (terminated: object) => JSON.stringify(readPod(container({ terminated: { exitCode: 1, ...terminated } }), null));
    expect(reason({ exitCode: 139 })).toContain("killed by signal 11.");
    expect(reason({ exitCode: 2, message: "Traceback\nKeyError: x" })).toContain("exit code 2: KeyError: x.");
  });
});

describe("a driver that runs", () => {
  const runs = (conditions: readonly object[] = [], status: object = {}, metadata: object = {}): DriverPod => {
    const pod = podOf({
      phase: "Running",
      conditions: conditions as NonNullable<NonNullable<DriverPod["status"]>["conditions"]>,
      containerStatuses: [{ name: "driver", restartCount: 0, state: { running: {} }, ...status }],
    });
    return { ...pod, metadata: { ...pod.metadata, ...metadata } };
  };
  const troubleOf = (pod: DriverPod) => readPod(pod, "an old warning");

  test("has no trouble by itself, whatever was warned of before", () => {
    expect(troubleOf(runs())).toEqual({ is: "running", trouble: null });
  });

  test("is told to have a node that is lost when Kubernetes takes its readiness away", () => {
    const lost = { type: "Ready", status: "False", lastTransitionTime: "2026-01-01T00:00:00Z" };
    const containers = { type: "ContainersReady", status: "True" };
    expect(troubleOf(runs([lost, containers]))).toEqual({
      is: "running",
      trouble:
        "Node node-1 of the driver's pod has been unreachable for Kubernetes since 2026-01-01T00:00:00Z (NodeNotReady); the driver may go on working.",
    });
    expect(troubleOf(runs([{ ...lost, reason: "ReadinessGatesNotReady" }, containers]))).toMatchObject({ trouble: null });
    expect(troubleOf(runs([lost, { ...containers, status: "False" }]))).toMatchObject({ trouble: null });
  });

  test("is told to be taken away, and by whom", () => {
    const deleted = { deletionTimestamp: "2026-01-01T00:00:30Z", deletionGracePeriodSeconds: 30 };
    const by = { type: "DisruptionTarget", status: "True", reason: "DeletionByTaintManager", message: "NoExecute taint" };
    expect(troubleOf(runs([], {}, deleted))).toMatchObject({ trouble: "The driver's pod is being deleted." });
    expect(troubleOf(runs([by], {}, deleted))).toMatchObject({
      trouble: "The driver's pod is being taken away (DeletionByTaintManager): NoExecute taint.",
    });
  });

  test("is told to have been started again, how often and why", () => {
    const again = { restartCount: 2, lastState: { terminated: { exitCode: 137, reason: "OOMKilled" } } };
    expect(troubleOf(runs([], again))).toMatchObject({
      trouble: expect.stringMatching(/was started again, 2 times so far; before that it ended: OOMKilled: it used more memory/),
    });
  });
});

describe("a driver's pod that is over", () => {
  const own = { state: "dead", reason: "it was idle for 1 h", logTail: ["last"], appId: "app-1" };
  const over = (phase: string, terminated: object, more: object = {}) =>
    readPod(
      podOf({
        phase,
        ...more,
        containerStatuses: [{ name: "driver", restartCount: 0, state: { terminated: { exitCode: 0, ...terminated } } }],
      }),
      null,
    );

  test("has the driver's own words", () => {
    expect(over("Succeeded", { message: JSON.stringify(own) })).toEqual({ is: "over", end: own });
    expect(over("Succeeded", { message: JSON.stringify({ ...own, state: "error" }) })).toMatchObject({ end: { state: "dead" } });
  });

  test.each(["", "no JSON", '{"state":"up"}', "null"])("says nothing where the driver said %j", (message) => {
    const end = { state: "dead", reason: "", logTail: null, appId: null, cause: "driver-lost" };
    expect(over("Succeeded", { message })).toEqual({ is: "over", end });
  });

  test.each([
    [{ reason: "Evicted", message: "The node was low on resource: memory" }, "was evicted: The node was low on resource: memory."],
    [
      { reason: "NodeShutdown", message: "Pod was terminated in response to imminent node shutdown" },
      "The node node-1 of the driver's pod was lost or shut down",
    ],
    [{ reason: "DeadlineExceeded", message: "too long" }, "failed (DeadlineExceeded): too long."],
  ])("names what took it: %j", (more, words) => {
    expect(over("Failed", { exitCode: 137, reason: "Error" }, more)).toMatchObject({
      end: { state: "dead", reason: expect.stringContaining(words) },
    });
  });

  test("is so when the driver's container is, whatever others do", () => {
    expect(over("Running", { message: JSON.stringify(own) })).toEqual({ is: "over", end: own });
    expect(over("Running", { exitCode: 1 })).toMatchObject({ is: "crashed" });
  });

  test("is so when nothing starts its container again, whatever others do", () => {
    const pod = container({ terminated: { exitCode: 137, reason: "OOMKilled" } });
    expect(readPod({ ...pod, spec: { ...pod.spec, restartPolicy: "Never" } }, null)).toEqual({
      is: "over",
      end: {
        ...{ state: "dead", logTail: null, appId: null, cause: "driver-lost" },
        reason: expect.stringContaining("OOMKilled: it used more memory than its limit"),
      },
    });
  });

  test("tells who took it with the driver's own last lines", () => {
    const message = JSON.stringify({ ...own, reason: "a signal" });
    expect(over("Failed", { message }, { reason: "Evicted", message: "disk" })).toEqual({
      is: "over",
      end: { ...own, reason: "The driver's pod was evicted: disk.", cause: "driver-lost" },
    });
    expect(over("Failed", { message })).toEqual({ is: "over", end: { ...own, reason: "a signal" } });
  });

  test("tells of an application's own exit", () => {
    const exited = { ...own, state: "dead", reason: "The application exited with code 3.", exitCode: 3, cause: "non-zero-exit" };
    expect(over("Succeeded", { message: JSON.stringify(exited) })).toEqual({ is: "over", end: exited });
  });

  test("and was deleted had its own end if that came first", () => {
    const ended = (finishedAt: string) => {
      const pod = podOf({
        phase: "Succeeded",
        containerStatuses: [
          { name: "driver", restartCount: 0, state: { terminated: { exitCode: 0, finishedAt, message: JSON.stringify(own) } } },
        ],
      });
      const metadata = { ...pod.metadata, deletionTimestamp: "2026-01-01T00:00:30Z", deletionGracePeriodSeconds: 30 };
      return readPod({ ...pod, metadata }, null);
    };
    expect(ended("2025-12-31T23:59:59Z")).toEqual({ is: "over", end: own });
    expect(ended("2026-01-01T00:00:01Z")).toMatchObject({ end: { state: "dead", reason: "The driver's pod was deleted." } });
  });

  test("and gone says who took it, not the signal that came with it", () => {
    const killed = {
      name: "driver",
      restartCount: 0,
      state: { terminated: { exitCode: 0, message: JSON.stringify({ ...own, reason: "a signal" }) } },
    };
    expect(readGonePod(podOf({ containerStatuses: [killed] }))).toEqual({
      state: "dead",
      reason: "The driver's pod was deleted.",
      logTail: ["last"],
      appId: "app-1",
      cause: "driver-lost",
    });
    const taken = {
      type: "DisruptionTarget",
      status: "True",
      reason: "DeletionByTaintManager",
      message: "Taint manager: deleting due to NoExecute taint",
    };
    expect(readGonePod(podOf({ conditions: [taken] })).reason).toMatch(/taken away \(DeletionByTaintManager\): Taint manager/);
  });
});
