import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Batch } from "../../src/core/batch.ts";
import type { Api } from "../../src/launch/kubernetes/api.ts";
import { Applications } from "../kit/applications.ts";
import { ClusterSite, inNamespace, prepareNamespace, soon, testApi } from "../kit/cluster.ts";
import { ClusterServer, ended } from "../kit/cluster-server.ts";
import { serveFiles } from "../kit/file-server.ts";
import { type BatchInfo, Livy } from "../kit/livy.ts";
import { startReplica } from "../kit/replica.ts";
import type { Server } from "../kit/server.ts";
import { until } from "../kit/until.ts";
import { applicationOf } from "../launch/contract.ts";

/** A cold Spark on a machine that does much else. */
const RUN_MS = 240_000;

const SUM = `import sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
def doubled(x):
    import of_ours
    return of_ours.double(x)
print("sum is", spark.sparkContext.parallelize(range(10), 2).map(doubled).sum(), sys.argv[1:], flush=True)
for number in range(3000):
    print("line", number)
sys.stdout.flush()
time.sleep(float(sys.argv[1]))
`;

/** Packs a virtual environment of the image's Python with a module of its own in it. */
const PACK = `
import glob, subprocess, sys
subprocess.run([sys.executable, "-m", "venv", "--without-pip", "environment"], check=True)
open(glob.glob("environment/lib/python*/site-packages")[0] + "/packed.py", "w").write("WORD = 'from the environment'")
subprocess.run(["tar", "-czf", "environment.tar.gz", "-C", "environment", "."], check=True)
`;
const PACKED = `import sys
from pyspark.sql import SparkSession
def word(_):
    import packed, sys
    return packed.WORD + " in " + sys.prefix.rsplit("/", 1)[-1]
if "driver" in sys.argv:
    print("the driver says:", word(0))
print("executors say:", set(SparkSession.builder.getOrCreate().sparkContext.parallelize(range(2), 2).map(word).collect()))
`;

describe("a batch in pods", { timeout: 2 * RUN_MS }, () => {
  const site = new ClusterSite();
  let server: Server;
  let livy: Livy;
  let files: string;
  let uploads: string;

  beforeAll(async () => {
    await using applications = await Applications.make();
    await prepareNamespace(site.api);
    const text = (content: string) => Buffer.from(content);
    files = await serveFiles(site, {
      "sum.py": text(SUM),
      "of_ours.py": text("def double(x):\n    return 2 * x\n"),
      "fails.py": text("raise ValueError('no such luck')\n"),
      "sleeps.py": text("import sys, time\nprint('asleep', flush=True)\ntime.sleep(600)\n"),
      "prepare.py": text(PACK),
      "packed-user.py": text(PACKED),
      "spark-pi.jar": await readFile(await applications.sparkPi()),
    });
    uploads = mkdtempSync(join(tmpdir(), "lw-uploads-"));
    server = await startReplica(site, ["--upload-dir", uploads]);
    livy = new Livy(server.url);
  });
  afterAll(async () => {
    livy?.close();
    await server?.[Symbol.asyncDispose]();
    await site.dispose();
    rmSync(uploads, { recursive: true, force: true });
  });

  const driverOf = async ({ longwick: { uid } }: BatchInfo) => {
    const pods = await site.driverPods();
    return pods.filter((pod) => pod.metadata.labels?.["longwick/session"] === uid);
  };

  test("runs on its executors, whose logs can be read meanwhile; its own whole log stays when pod and server have gone", async () => {
    const made = await livy.createBatch({ file: `${files}/sum.py`, pyFiles: [`${files}/of_ours.py`], args: ["25"], name: "sum" });
    const running = await until("the sum is told and Spark's UI is there", RUN_MS, async () => {
      const batch = await livy.batchIn(made.id, ["starting", "running"]);
      const told =
        batch.log.some((line) => line.startsWith("line 29")) || (await livy.batchLog(made.id)).some((line) => line.startsWith("sum is"));
      return told && batch.appInfo.sparkUiUrl !== null ? batch : undefined;
    });
    expect(running).toMatchObject({ state: "running", appId: expect.stringMatching(/^spark-/) });
    expect((await fetch(`${server.url}/batches/sum/ui/jobs/`)).status).toBe(200);
    expect(running.appInfo.executorLogUrls).toBe(`${server.url}/batches/${made.id}/executors`);
    const { executors } = await livy.expect<{ executors: { name: string; state: string; logUrl: string }[] }>(
      200,
      "GET",
      "/batches/sum/executors",
    );
    expect(executors).toMatchObject([{ state: "running" }]);
    expect(await (await fetch(`${executors[0]?.logUrl}?size=2000`)).text()).toContain("Executor");
    expect((await livy.ask("GET", `/batches/sum/executors/${(await driverOf(running))[0]?.metadata.name}/log`)).status).toBe(404);
    const ended = await livy.batchIn(made.id, ["success"], RUN_MS);
    expect(ended.longwick).toMatchObject({ exitCode: 0, cause: null, reason: "The application has ended." });
    expect(ended.appId).toBe(running.appId);
    expect(await site.driverPods()).toEqual([]);
    const log = await livy.batchLog(made.id);
    expect(log).toContain("sum is 90 ['25']");
    const numbered = log.filter((line) => /^line \d+$/.test(line));
    expect(numbered).toEqual(Array.from({ length: 3_000 }, (_, number) => `line ${number}`));
    await server.restart();
    expect((await livy.batch("sum")).longwick).toMatchObject({ exitCode: 0, reason: "The application has ended." });
    expect((await livy.batchLog("sum")).filter((line) => /^line \d+$/.test(line))).toEqual(numbered);
    await livy.deleteBatch("sum");
    await expect
      .poll(async () =>
        (await site.left()).filter((name) => name !== `configmaps/${site.settings.instance}-files` && !name.startsWith("pods/")),
      )
      .toEqual([]);
  });

  test("has a packed virtual environment on its executors", async () => {
    const conf = { "spark.pyspark.driver.python": "python3", "spark.pyspark.python": "./environment/bin/python" };
    const { id } = await livy.createBatch({ file: `${files}/packed-user.py`, archives: [`${files}/environment.tar.gz#environment`], conf });
    await livy.batchIn(id, ["success"], RUN_MS);
    expect(await livy.batchLog(id)).toContain("executors say: {'from the environment in environment'}");
  });

  test("has one that was uploaded in its driver too", async () => {
    const form = new FormData();
    form.append("file", await (await fetch(`${files}/environment.tar.gz`)).blob(), "environment.tar.gz");
    const { uri } = (await (await fetch(`${server.url}/uploads`, { method: "POST", body: form })).json()) as { uri: string };
    const asked = { file: `${files}/packed-user.py`, archives: [`${uri}#environment`], args: ["driver"] };
    const { id } = await livy.createBatch({ ...asked, conf: { "spark.pyspark.python": "./environment/bin/python" } });
    await livy.batchIn(id, ["success"], RUN_MS);
    expect(await livy.batchLog(id)).toEqual(
      expect.arrayContaining([
        "the driver says: from the environment in environment",
        "executors say: {'from the environment in environment'}",
      ]),
    );
  });

  test("runs a JVM application; one that fails says why; one whose pod is deleted is tried again as another pod", async () => {
    const pi = await livy.createBatch({ file: `${files}/spark-pi.jar`, className: "longwick.test.SparkPi", args: ["3"] });
    const failing = await livy.createBatch({ file: `${files}/fails.py` });
    const lost = await livy.createBatch({ file: `${files}/sleeps.py`, retry: { maxAttempts: 2, backoffSeconds: 0, on: ["driver-lost"] } });
    await livy.batchIn(pi.id, ["success"], RUN_MS);
    expect(await livy.batchLog(pi.id)).toContainEqual(expect.stringMatching(/^Pi is roughly 3\.\d+/));
    expect((await livy.batchIn(failing.id, ["dead"], RUN_MS)).longwick).toMatchObject({
      ...{ exitCode: 1, cause: "non-zero-exit" },
      reason: "The application exited with code 1: ValueError: no such luck.",
    });
    const asleep = async (times: number) => {
      await until(`it sleeps for the ${times}th time`, RUN_MS, async () =>
        (await livy.batchLog(lost.id)).filter((line) => line === "asleep").length === times ? true : undefined,
      );
    };
    await asleep(1);
    const [first] = await driverOf(lost);
    await site.api.delete(site.at("pods", first?.metadata.name), soon(), { gracePeriodSeconds: 0 });
    await asleep(2);
    const again = await livy.batch(lost.id);
    expect(again).toMatchObject({ state: "running" });
    expect(again.longwick.attempts).toMatchObject([
      { attempt: 1, state: "dead", cause: "driver-lost", reason: "The driver's pod was deleted." },
      { attempt: 2, state: null },
    ]);
    expect((await driverOf(lost)).map((pod) => pod.metadata.name)).toEqual([`${first?.metadata.name}-2`]);
    await livy.deleteBatch(lost.id);
    expect(await driverOf(lost)).toEqual([]);
  });
});

describe("a batch whose driver needs no Spark", { timeout: RUN_MS }, () => {
  const namespace = `longwick-test-${crypto.randomUUID().slice(0, 8)}`;
  const api = testApi();
  beforeAll(() => prepareNamespace(api, namespace));
  afterAll(async () => {
    await api.delete(`api/v1/namespaces/${namespace}`, soon());
    api.close();
  });
  /** Ends at once with 0: the JVM's stand-in has nothing to read. */
  const ENDS = {
    application: { ...applicationOf("local:///opt/spark/__init__.py"), retry: { ...applicationOf("").retry, backoffMs: 3_000 } },
  };
  const succeeded = async (batch: Batch) => {
    await ended(batch);
    expect([batch.state, batch.end]).toMatchObject(["success", { exitCode: 0 }]);
  };

  test("is refused by a quota and succeeds in its second attempt, once that is freed", async () => {
    await using site = ClusterSite.withoutSpark({ namespace, serverNamespace: namespace });
    await setQuota(api, namespace, "0");
    await using server = await ClusterServer.open(site);
    await using other = await ClusterServer.open(site);
    const batch = await server.batch(ENDS);
    await until("its first attempt was refused", 60_000, () => (batch.attempts.length === 2 ? true : undefined));
    expect(batch.attempts).toMatchObject([
      { end: { state: "dead", cause: "submission-refused", reason: expect.stringContaining("quota") } },
      { end: null },
    ]);
    await setQuota(api, namespace, "5");
    await succeeded(batch);
    expect(batch.attempts).toHaveLength(2);
    const seen = await until("the other server has heard of it", 20_000, () => other.sessions.listBatches({ name: null, remote: null })[0]);
    expect(await ended(seen)).toBe("The application has ended.");
    expect(seen.attempts.map(({ end }) => end?.state)).toEqual(["dead", "success"]);
    expect((await site.left(namespace)).filter((name) => !/-log-/.test(name))).toEqual([site.claimOf(batch.claim)]);
  });

  test("is run once whenever its server dies, and by whichever server it is asked for again", async () => {
    await using site = ClusterSite.withoutSpark({ namespace, serverNamespace: namespace });
    await setQuota(api, namespace, "10");
    const names = new Set<string>();
    for (const delayMs of [0, 30, 100, 300, 1_000, 2_500]) {
      const first = await ClusterServer.open(site);
      const accepted = await first.batch(ENDS, `key-${delayMs}`);
      await pause(delayMs);
      await first[Symbol.asyncDispose]();
      await using second = await ClusterServer.open(site);
      const again = await second.batch(ENDS, `key-${delayMs}`);
      expect([again.id, again.uid]).toEqual([accepted.id, accepted.uid]);
      await succeeded(again);
      expect(again.attempts).toHaveLength(1);
      names.add(again.uid);
    }
    expect(names.size).toBe(6);
    expect(await site.driverPods()).toEqual([]);
  });

  test("that two servers are asked for at once with one key is one batch", async () => {
    await using site = ClusterSite.withoutSpark({ namespace, serverNamespace: namespace });
    await setQuota(api, namespace, "10");
    await using left = await ClusterServer.open(site);
    await using right = await ClusterServer.open(site);
    const made = await Promise.all([left, right, left, right].map((server) => server.batch(ENDS, "one-and-only")));
    expect(new Set(made.map(({ id }) => id)).size).toBe(1);
    const [batch] = made;
    if (batch === undefined) throw new Error("there is no batch");
    await succeeded(batch);
  });
});

/** So many pods; resolves when the API server counts by it. */
const setQuota = async (api: Api, namespace: string, pods: string): Promise<void> => {
  const path = inNamespace("resourcequotas", "few", namespace);
  interface Quota {
    readonly status?: { readonly hard?: Readonly<Record<string, string>> };
  }
  await api
    .create(inNamespace("resourcequotas", "", namespace), { metadata: { name: "few" }, spec: { hard: { pods } } }, soon())
    .catch(() => api.merge(path, { spec: { hard: { pods } } }, soon()));
  await until(`the quota is ${pods}`, 30_000, async () =>
    (await api.get<Quota>(path, soon())).status?.hard?.["pods"] === pods ? true : undefined,
  );
};
