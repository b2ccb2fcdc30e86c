import { KubeConfig, type V1Pod } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Session } from "../../../src/core/session.ts";
import { Api } from "../../../src/launch/kubernetes/api.ts";
import { INSTANCE_LABEL, ROLE_LABEL, SESSION_LABEL, TAG_LABEL } from "../../../src/launch/kubernetes/names.ts";
import { eraseSession } from "../../../src/launch/kubernetes/session-objects.ts";
import { ClusterSite, IMAGE, inNamespace, NAMESPACE, soon } from "../../kit/cluster.ts";
import { ClusterServer, ended, NOBODY, run, START_MS, says } from "../../kit/cluster-server.ts";
import { kubectl } from "../../kit/kubectl.ts";
import { until } from "../../kit/until.ts";
import { draftOf, reach } from "../../launch/contract.ts";

// Each has an instance of its own; most of their time they wait.
describe.concurrent("a driver's pod", { timeout: 240_000 }, () => {
  /** The name of a session's pod, once it runs. */
  const running = (site: ClusterSite, { claim }: Session): Promise<string> =>
    until("the driver's pod runs", 60_000, async () => {
      const [pod] = await site.pods(claim);
      return pod?.status?.phase === "Running" ? pod.metadata.name : undefined;
    });

  test("that somebody deletes ends its session with the reason; all that was its goes at once, its claim after retention", async ({
    expect,
  }) => {
    await using site = ClusterSite.withoutSpark();
    await using server = await ClusterServer.open(site, {}, { retentionMs: 20_000 });
    const session = await server.create();
    await site.api.delete(inNamespace("pods", await running(site, session)), soon());
    expect(await ended(session)).toMatch(/pod was deleted/);
    expect(session.state).toBe("dead");
    await expect.poll(() => site.left(), { timeout: 30_000 }).toEqual([site.claimOf(session.claim)]);
    await expect.poll(() => site.left(), { timeout: 60_000 }).toEqual([]);
    expect(() => server.sessions.find("0", NOBODY, "view")).toThrow(/not found/i);
  });

  test("that is evicted ends its session with who did it", async ({ expect }) => {
    await using site = ClusterSite.withoutSpark();
    await using server = await ClusterServer.open(site);
    const session = await server.create();
    const name = await running(site, session);
    await site.api.create(
      `${inNamespace("pods", name)}/eviction`,
      { apiVersion: "policy/v1", kind: "Eviction", metadata: { name } },
      soon(),
    );
    expect(await ended(session)).toMatch(/taken away \(EvictionByEvictionAPI\): Eviction API: evicting/);
    await expect.poll(() => site.left(), { timeout: 30_000 }).toEqual([site.claimOf(session.claim)]);
  });

  test("whose first process the kernel ends for want of memory is started again, and says OOMKilled", async ({ expect }) => {
    await using site = ClusterSite.withoutSpark();
    await using server = await ClusterServer.open(site);
    // Of a pod that gets all that it asks for the kernel ends no process but one that is marked for it.
    const cores = { "spark.kubernetes.driver.request.cores": "200m", "spark.kubernetes.driver.limit.cores": "200m" };
    const session = await server.create({ driverMemory: "300m", conf: { "spark.driver.memoryOverhead": "100m", ...cores } });
    const name = await running(site, session);
    // Memory that is only held open is no process's, and goes with the container.
    const hold = "import os; held = os.memfd_create('held')\nwhile True: os.write(held, bytes(1 << 20))";
    const take = `echo 1000 >/proc/1/oom_score_adj && exec python3 -c "${hold}"`;
    await expect(kubectl(["--namespace", NAMESPACE, "exec", name, "--", "sh", "-c", take])).rejects.toThrow(/exit code 137|SIGKILL/);
    await says(session, /was started again, once so far; before that it ended: OOMKilled: it used more memory than its limit/);
    expect(session.state).toBe("starting");
  });

  test("that fills its disk beyond what it may is evicted, and its session ends with the reason", async ({ expect }) => {
    const local = "spark.kubernetes.driver.volumes.emptyDir.spark-local-dir-1";
    await using site = ClusterSite.withoutSpark();
    await using server = await ClusterServer.open(site);
    const conf = { [`${local}.mount.path`]: "/var/data/one", [`${local}.options.sizeLimit`]: "30Mi" };
    const session = await server.create({ conf });
    const name = await running(site, session);
    await kubectl(["--namespace", NAMESPACE, "exec", name, "--", "sh", "-c", "head -c 40M /dev/zero >/var/data/one/full"]);
    expect(await ended(session)).toMatch(/pod was evicted: Usage of EmptyDir volume "spark-local-dir-1" exceeds the limit "30Mi"/);
    expect(session.state).toBe("dead");
    await expect.poll(() => site.left(), { timeout: 60_000 }).toEqual([site.claimOf(session.claim)]);
  });

  test("is made once and whole, at whatever step the server that launched it went", async ({ expect }) => {
    await using site = ClusterSite.withoutSpark();
    const claims = await Promise.all(
      [0, 5, 15, 30, 45, 60, 90, 150, 300].map(async (afterMs) => {
        const launcher = await site.open();
        const claim = await launcher.claim(draftOf({ conf: { "spark.ssl.keyPassword": "hush" } }), soon());
        launcher.launch(claim);
        await new Promise((resolve) => setTimeout(resolve, afterMs));
        await launcher.close();
        return claim;
      }),
    );
    await using server = await ClusterServer.open(site);
    for (const claim of claims) {
      const session = server.sessions.find(String(claim.id), NOBODY, "modify");
      expect(await session.caughtUp(60_000, soon())).toBe(true);
      expect(await site.running(claim)).toBe(1);
      await server.sessions.delete(session, "enough");
    }
    expect(await site.left()).toEqual([]);
  });

  test("of a session whose deletion was begun by a server that went is gone when the next one comes", async ({ expect }) => {
    await using site = ClusterSite.withoutSpark();
    const first = await site.open();
    const claim = await first.claim(draftOf(), soon());
    const workload = first.launch(claim);
    await reach(workload, "running", soon());
    const stopping = workload.stop(10_000);
    await expect.poll(async () => (await site.pods(claim))[0]?.metadata.deletionTimestamp, { timeout: 20_000, interval: 20 }).toBeDefined();
    await first.close();
    await stopping;
    await using server = await ClusterServer.open(site);
    const session = server.sessions.find("0", NOBODY, "view");
    expect(await ended(session)).toMatch(/was stopped/);
    expect(session.state).toBe("killed");
    expect(await site.pods(claim)).toEqual([]);
  });

  test("that another server makes when its deletion was asked for already is deleted as it comes", async ({ expect }) => {
    await using site = ClusterSite.withoutSpark();
    const place = { namespace: NAMESPACE, name: `${site.settings.instance}-0`, uid: crypto.randomUUID() };
    const pod = waitingPod(site, place, "driver");
    /** The real server, where something happens after the first deletion. */
    class Late extends Api {
      deletions = 0;
      override async delete(...asked: Parameters<Api["delete"]>): Promise<void> {
        await super.delete(...asked);
        this.deletions += 1;
        if (this.deletions === 1) await this.create(inNamespace("pods"), pod, soon());
      }
    }
    const config = new KubeConfig();
    config.loadFromDefault();
    const api = new Late(config);
    await eraseSession({ ...place, api }, 10_000, soon(8_000));
    expect(api.deletions).toBeGreaterThan(1);
    expect(await site.left()).toEqual([]);
    api.close();
  });

  test("of an attempt that is over goes without a word to those of the next, which another server has begun", async ({ expect }) => {
    await using site = ClusterSite.withoutSpark();
    const place = { api: site.api, namespace: NAMESPACE, name: `${site.settings.instance}-0`, uid: crypto.randomUUID() };
    const next = { ...place, name: `${place.name}-2` };
    for (const pod of [waitingPod(site, place, "driver"), waitingPod(site, next, "driver"), waitingPod(site, next, "executor")])
      await site.api.create(inNamespace("pods"), pod, soon());
    await eraseSession(place, 0, soon(8_000));
    expect(await site.left()).toEqual([`pods/${next.name}`, `pods/${next.name}-executor`]);
    for (const name of [next.name, `${next.name}-executor`])
      await site.api.delete(inNamespace("pods", name), soon(), { gracePeriodSeconds: 0 });
  });
});

/** A pod that no node takes. */
const waitingPod = (site: ClusterSite, { name, uid }: { name: string; uid: string }, role: "driver" | "executor"): V1Pod => ({
  metadata: {
    name: role === "driver" ? name : `${name}-${role}`,
    labels: { [INSTANCE_LABEL]: site.settings.instance, [SESSION_LABEL]: uid, [TAG_LABEL]: name, [ROLE_LABEL]: role },
  },
  spec: {
    nodeSelector: { planet: "mars" },
    securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    containers: [{ name: "any", image: IMAGE, securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } } }],
  },
});

/** One driver goes through it all; each time it is as good as new, and its variables may be gone. */
describe("a session whose driver", { timeout: 240_000 }, () => {
  let site: ClusterSite;
  let server: ClusterServer;
  let session: Session;
  let pod: string;
  const driver = async () => (await site.pods(session.claim)).find(({ metadata }) => metadata.labels?.["spark-role"] === "driver");
  const executor = async () =>
    (await site.pods(session.claim)).find(
      ({ metadata, status }) => metadata.labels?.["spark-role"] === "executor" && status?.phase === "Running",
    );
  /** In the same pod as ever, jobs run on executors. */
  const worksAgain = async (): Promise<void> => {
    expect(await run(session, "sc.range(100).sum()")).toContain("4950");
    expect((await driver())?.metadata.uid).toBe(pod);
  };

  beforeAll(async () => {
    site = new ClusterSite();
    server = await ClusterServer.open(site);
    session = await server.create({
      conf: {
        "spark.driver.memory": "512m",
        "spark.driver.memoryOverhead": "500m",
        "spark.driver.extraJavaOptions": "-XX:MaxDirectMemorySize=8g",
      },
    });
    expect(await run(session, "sc.range(100).sum()")).toContain("4950");
    pod = (await driver())?.metadata.uid ?? "";
  }, START_MS);
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await site.dispose();
  });

  test("loses an executor under a job answers all the same", async () => {
    const answer = run(session, "import time; sc.range(4, numSlices=4).map(lambda n: time.sleep(2) or n).sum()");
    await expect.poll(() => session.peek(1)?.jobs.length, { timeout: 60_000 }).toBe(1);
    await site.api.delete(inNamespace("pods", (await executor())?.metadata.name), soon(), { gracePeriodSeconds: 0 });
    expect(await answer).toContain('"6"');
  });

  test("dies with every process of its container at once loses the statement that ran, and says so", async () => {
    const lost = run(session, "import time; time.sleep(600)");
    await expect.poll(() => session.state, { timeout: 30_000 }).toBe("busy");
    await site.crash(session.claim);
    expect(await lost).toMatch(/"lost".*DriverLost.*died while it ran/);
    await worksAgain();
    expect(session.logTail(1).join()).toMatch(/was started again, once so far; before that it ended: killed by signal 9/);
  });

  test("takes more memory than its container may, in Python, loses its variables and says why", async () => {
    expect(await run(session, "x = [bytearray(b'x' * 2**20) for _ in range(4000)]")).toMatch(
      /"lost".*("InterpreterLost".*out of memory: all processes of the driver together may use 1012 MiB|"DriverLost")/,
    );
    await worksAgain();
  });

  test("takes more memory than its container may, in Spark's JVM, has a new Spark and says why", async () => {
    const lost = await run(session, "x = [sc._jvm.java.nio.ByteBuffer.allocateDirect(64 << 20) for _ in range(40)]");
    expect(lost).toMatch(/"lost".*("InterpreterLost".*Spark's JVM was killed by SIGKILL \(out of memory: .*1012 MiB\)|"DriverLost")/);
    await worksAgain();
  });

  test("is deleted ends, and its executors go with it", async () => {
    expect(await executor()).toBeDefined();
    await site.api.delete(inNamespace("pods", (await driver())?.metadata.name), soon());
    expect(await ended(session)).toMatch(/pod was deleted/);
    await expect.poll(() => site.left(), { timeout: 60_000 }).toEqual([site.claimOf(session.claim)]);
  });
});
