import { expect, test } from "vitest";
import { RefusedExecutors } from "../../src/core/refused-executors.ts";

const QUOTA = 'pods "t-0-exec-43" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1';
/** As a driver of Spark 4.1 wrote it. */
const lineOf = (message: string) =>
  `Caused by: io.fabric8.kubernetes.client.KubernetesClientException: Failure executing: POST at: https://198.19.0.1:443/api/v1/namespaces/team/pods. Message: ${message}. Received status: Status(apiVersion=v1, code=403, details=StatusDetails(causes=[], message=${message}), status=Failure, additionalProperties={}).`;

test("what Kubernetes refuses Spark is told in its words for as long as Spark asks again", () => {
  let now = 1_000;
  const refused = new RefusedExecutors(() => now);
  expect(refused.standing).toBeNull();
  refused.heard([lineOf('object is being deleted: pods "t-0-exec-1" already exists')]);
  expect(refused.standing).toBeNull();
  refused.heard([
    "26/11/21 22:00:00 WARN ExecutorPodsAllocator: an exception",
    lineOf("no"),
    lineOf(QUOTA),
    "\tat java.base/java.lang.Thread.run",
  ]);
  expect(refused.standing).toBe(`Spark is refused an executor and asks again: ${QUOTA}.`);
  now += 30_000;
  refused.heard(["26/11/21 22:00:30 INFO TaskSetManager: Starting task 0.0", "Failure executing: POST at: https://hook.example/pods"]);
  expect(refused.standing).not.toBeNull();
  now += 1;
  expect(refused.standing).toBeNull();
});

test("text that only looks like it costs little, however long its line is", () => {
  const refused = new RefusedExecutors(() => 0);
  // Milliseconds; what looks at the whole rest of the line from each place takes minutes.
  const startedMs = performance.now();
  refused.heard([
    "Failure executing: POST at: a/namespaces/b/pods. Message: x".repeat(20_000),
    `Failure executing: POST at: ${"/namespaces/a/b".repeat(100_000)}`,
  ]);
  expect(performance.now() - startedMs).toBeLessThan(8_000);
  expect(refused.standing).toBeNull();
});
