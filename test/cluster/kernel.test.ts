import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { removeAbandoned } from "../../src/launch/kubernetes/cluster.ts";
import { INSTANCE_LABEL } from "../../src/launch/kubernetes/names.ts";
import type { DriverPod } from "../../src/launch/kubernetes/pod-reading.ts";
import { IMAGE, NAMESPACE, prepareNamespace, SERVICE_ACCOUNT, soon, testApi } from "../kit/cluster.ts";
import { installKernel } from "../kit/kernelspec.ts";
import { clientsPython } from "../kit/python.ts";

/** The native kernel from outside of the cluster: it needs a kubeconfig and no server. */

const CASES = fileURLToPath(new URL("../real/jupyter/kernel_cases.py", import.meta.url));
const RUN_MS = 400_000;
const directory = mkdtempSync(join(tmpdir(), "lw-"));
const api = testApi();

beforeAll(() => prepareNamespace(api));
afterAll(() => {
  api.close();
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
});

const CONF = {
  "spark.executor.instances": "1",
  "spark.executor.memory": "600m",
  "spark.kubernetes.driver.request.cores": "10m",
  "spark.kubernetes.executor.request.cores": "10m",
};
const SETTINGS = {
  LONGWICK_LAUNCHER: "kubernetes",
  LONGWICK_KUBERNETES_IMAGE: IMAGE,
  LONGWICK_KUBERNETES_IMAGE_PULL_POLICY: "IfNotPresent",
  LONGWICK_KUBERNETES_NAMESPACE: NAMESPACE,
  LONGWICK_KUBERNETES_SERVER_NAMESPACE: NAMESPACE,
  LONGWICK_KUBERNETES_SERVICE_ACCOUNT: SERVICE_ACCOUNT,
  LONGWICK_RUNTIME_DIR: join(directory, "run"),
  LONGWICK_SPARK_CONF: JSON.stringify(CONF),
};

/** Objects that servers inside of kernels have made. */
const left = async (prefix = "kernel-"): Promise<readonly string[]> => {
  const found: string[] = [];
  for (const kind of ["pods", "configmaps", "secrets", "services"]) {
    const { items } = await api.list<{ metadata: { name: string; labels?: Record<string, string> } }>(
      `api/v1/namespaces/${NAMESPACE}/${kind}`,
      { labelSelector: INSTANCE_LABEL },
      soon(),
    );
    found.push(
      ...items
        .filter(({ metadata }) => metadata.labels?.[INSTANCE_LABEL]?.startsWith(prefix))
        .map(({ metadata }) => `${kind}/${metadata.name}`),
    );
  }
  return found;
};

test("a notebook's driver and executors are pods, by a kubeconfig alone, and nothing of them is left", {
  timeout: RUN_MS + 60_000,
}, async () => {
  const before = new Set(await left());
  const env = installKernel(directory, "pods", SETTINGS);
  const out = join(directory, "cases.json");
  await promisify(execFile)(await clientsPython(), [CASES, out, "InCluster"], { env: { ...env }, timeout: RUN_MS, maxBuffer: 2 ** 26 });
  // Written by our own script.
  const outcomes = JSON.parse(readFileSync(out, "utf8")) as Readonly<Record<string, string | null>>;
  expect(outcomes).toEqual({ "InCluster.test_a_notebook_on_pods": null });
  await expect.poll(async () => (await left()).filter((name) => !before.has(name)), { timeout: 60_000, interval: 500 }).toEqual([]);
});

test("what a kernel leaves that was killed with 9 ends by its own rules, and later kernels remove it", { timeout: RUN_MS }, async () => {
  const env = installKernel(directory, "killed", { ...SETTINGS, LONGWICK_ORPHAN_TIMEOUT_MS: "5s" });
  const script = `import kernel_cases as k, hashlib
m = k.started(); c = k.connected(m)
k.run(c, "spark.sparkContext.parallelize(range(2), 2).count()", k.POD_S)
print("kernel-" + hashlib.sha256(m.session.key).hexdigest()[:12], flush=True); k.os.kill(k.pid_of(m), 9); k.sys.exit(0)`;
  const options = { env: { ...env, PYTHONPATH: dirname(CASES) }, timeout: RUN_MS - 120_000 };
  const { stdout } = await promisify(execFile)(await clientsPython(), ["-c", script], options);
  const prefix = stdout.trim();
  const podsOf = async () => {
    const path = `api/v1/namespaces/${NAMESPACE}/pods`;
    const { items } = await api.list<DriverPod>(path, { labelSelector: `${INSTANCE_LABEL}=${prefix}` }, soon());
    return items.map(({ status }) => status?.phase);
  };
  await expect.poll(podsOf, { timeout: 90_000, interval: 500 }).toEqual(["Succeeded"]);
  const settings = { kubeconfig: null, context: null, serverNamespace: NAMESPACE, namespace: NAMESPACE };
  const kept = await left(prefix);
  await removeAbandoned(settings, { prefix, endedMs: 3_600_000 }, soon());
  expect(await left(prefix)).toEqual(kept);
  await removeAbandoned(settings, { prefix, endedMs: 0 }, soon());
  await expect.poll(() => left(prefix), { timeout: 60_000, interval: 500 }).toEqual([]);
});
