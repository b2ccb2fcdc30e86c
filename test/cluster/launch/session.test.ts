import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Access } from "../../../src/core/access.ts";
import type { Session } from "../../../src/core/session.ts";
import { Sessions } from "../../../src/core/sessions.ts";
import type { SessionSpec } from "../../../src/core/spec.ts";
import type { DriverPod } from "../../../src/launch/kubernetes/pod-reading.ts";
import type { KubernetesSettings } from "../../../src/launch/kubernetes/settings.ts";
import { openLink } from "../../../src/link/link.ts";
import { ClusterSite, NAMESPACE, soon } from "../../kit/cluster.ts";
import { draftOf, firstWords, reach } from "../../launch/contract.ts";

const NOBODY = { name: null, remote: null };
const RULES = { superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] };
const START_MS = 180_000;

/** A server's sessions without its faces. */
class Server {
  readonly sessions: Sessions;
  readonly site: ClusterSite;

  constructor(site: ClusterSite, sessions: Sessions) {
    this.site = site;
    this.sessions = sessions;
  }

  static async open(site: ClusterSite, asked: Partial<KubernetesSettings> = {}): Promise<Server> {
    const launcher = await site.open(asked);
    const parts = { launcher, openLink, clock: { now: Date.now }, startWaitMs: START_MS, stopGraceMs: 3_000 };
    const sessions = new Sessions(parts, new Access(RULES), { maxSessions: 0, maxSessionsPerUser: 0, retentionMs: 600_000 });
    await sessions.adopt(soon());
    return new Server(site, sessions);
  }

  create(asked: Partial<SessionSpec> = {}): Promise<Session> {
    return this.sessions.create(draftOf(asked), NOBODY, soon());
  }

  async close(): Promise<void> {
    await this.sessions.close();
  }
}

const run = async (session: Session, code: string): Promise<string> => {
  const body = { key: crypto.randomUUID(), code, kind: "pyspark" as const, origin: null, silent: false, stopOnError: false, stdin: false };
  const id = await session.submit(body, soon(START_MS));
  await session.settled(id, START_MS, soon(START_MS));
  const statement = await session.statement(id, soon());
  return JSON.stringify([statement.outcome, ...statement.outputs]);
};

const ended = async (session: Session): Promise<string> => {
  await expect.poll(() => session.end, { timeout: START_MS, interval: 100 }).not.toBeNull();
  return session.end?.reason ?? "";
};

describe("a session on Kubernetes", { timeout: 300_000 }, () => {
  const opened: (Server | ClusterSite)[] = [];
  const siteOf = (site: ClusterSite): ClusterSite => {
    opened.push(site);
    return site;
  };
  const serve = async (site: ClusterSite, asked: Partial<KubernetesSettings> = {}): Promise<Server> => {
    const server = await Server.open(site, asked);
    opened.push(server);
    return server;
  };
  afterEach(async () => {
    for (const one of opened.splice(0).reverse()) await (one instanceof Server ? one.close() : one.dispose());
  });

  test.each(["address", "port-forward"] as const)(
    "runs jobs on executor pods that are found by its tag, and leaves nothing (%s)",
    async (how) => {
      const site = siteOf(new ClusterSite({ reach: how }));
      const server = await serve(site);
      const session = await server.create();
      expect(await run(session, "spark.range(1000).selectExpr('sum(id) s').first().s")).toContain("499500");
      const hosts = await run(
        session,
        "import socket; print(*sorted(set(sc.range(8, numSlices=8).map(lambda _: socket.gethostname()).collect())))",
      );
      expect(hosts).toMatch(/-exec-1/);
      const [driver, executor, ...others] = (await site.pods(session.claim)).toSorted((a, b) =>
        a.metadata.name.localeCompare(b.metadata.name),
      );
      expect(others).toEqual([]);
      const tag = driver?.metadata.labels?.["spark-app-tag"];
      expect(tag).toBe(driver?.metadata.name);
      expect(executor?.metadata.labels).toMatchObject({ "spark-app-tag": tag, "spark-role": "executor" });
      expect(await run(session, "x = 'é' * 3_000_000; print(x)")).toContain("é".repeat(3_000_000));
      await server.sessions.delete(session, "it was deleted");
      expect(await site.pods(session.claim)).toEqual([]);
      expect(await site.left()).toEqual([]);
    },
  );

  test("outlives its server: the next one finds its statements, variables and executors", async () => {
    const site = siteOf(new ClusterSite());
    const first = await serve(site);
    const before = await first.create({ name: "kept" });
    await run(before, "x = 41");
    const appId = before.appId;
    await first.close();
    const second = await serve(site);
    const session = second.sessions.find("kept", NOBODY, "modify");
    expect(await run(session, "x + 1")).toContain("42");
    expect(session.appId).toBe(appId);
    expect(await session.statements(soon())).toHaveLength(2);
  });

  test("every process of the container killed at once: the running statement is lost, the next one runs in the same pod", async () => {
    const site = siteOf(new ClusterSite());
    const server = await serve(site);
    const session = await server.create();
    expect(await run(session, "1 + 1")).toContain('"2"');
    const lost = run(session, "import time; time.sleep(600)");
    await expect.poll(() => session.state, { timeout: 30_000 }).toBe("busy");
    const [pod] = await site.pods(session.claim);
    await site.crash(session.claim);
    expect(await lost).toMatch(/"lost".*DriverLost/);
    expect(await run(session, "2 + 1")).toContain('"3"');
    const [same] = (await site.pods(session.claim)).filter(({ metadata }) => metadata.labels?.["spark-role"] === "driver");
    expect(same?.metadata.uid).toBe(pod?.metadata.uid);
  });
});

/** Faults that need the machine: a command that takes `stop PART` and `start PART`; without one they are not for this cluster. */
const BREAK = process.env["LONGWICK_TEST_BREAK"];
const breaking = (what: "stop" | "start", part: string): Promise<unknown> => promisify(execFile)(BREAK ?? "false", [what, part]);

describe("what breaks under a session", { timeout: 300_000 }, () => {
  let site: ClusterSite;
  let server: Server;
  beforeEach(async () => {
    site = new ClusterSite();
    server = await Server.open(site);
  });
  afterEach(async () => {
    await server.close();
    await site.dispose();
  });

  test("a driver that uses more memory than its pod may is OOMKilled, comes back and says so", async () => {
    const session = await server.create({ conf: { "spark.driver.memory": "512m", "spark.driver.memoryOverhead": "500m" } });
    expect(await run(session, "1 + 1")).toContain('"2"');
    const phases: string[] = [];
    const timer = setInterval(() => phases.push(session.logTail(1).join()), 50);
    const lost = await run(session, "x = [bytearray(b'x' * 2**20) for _ in range(4000)]").finally(() => clearInterval(timer));
    expect(lost).toMatch(/"lost".*(DriverLost|InterpreterLost)/);
    expect(await run(session, "2 + 1")).toContain('"3"');
  });

  test("an executor that is killed under a job costs no answer", async () => {
    const session = await server.create();
    const answer = run(session, "import time; sc.range(4, numSlices=4).map(lambda n: time.sleep(5) or n).sum()");
    const executor = async () =>
      (await site.pods(session.claim)).find(
        ({ metadata, status }) => metadata.labels?.["spark-role"] === "executor" && status?.phase === "Running",
      );
    await expect.poll(executor, { timeout: 120_000 }).toBeDefined();
    await site.api.delete(`api/v1/namespaces/${NAMESPACE}/pods/${(await executor())?.metadata.name}`, soon(), { gracePeriodSeconds: 0 });
    expect(await answer).toContain('"6"');
  });

  test.runIf(BREAK !== undefined)(
    "an API server that is restarted under a statement is not noticed by it; what ends meanwhile is known after",
    async () => {
      const session = await server.create();
      expect(await run(session, "1 + 1")).toContain('"2"');
      const other = await server.create({ ttlMs: 30_000 });
      await expect.poll(() => other.state, { timeout: 60_000 }).not.toBe("not_started");
      const answer = run(session, "import time; time.sleep(8); 'through'");
      await breaking("stop", "kube-apiserver");
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      expect(await answer).toContain("through");
      await breaking("start", "kube-apiserver");
      expect(await ended(other)).toMatch(/time to live/);
      await server.sessions.delete(session, "it was deleted");
      expect(await site.pods(session.claim)).toEqual([]);
    },
  );
});

describe("a driver's pod", { timeout: 300_000 }, () => {
  const opened: ClusterSite[] = [];
  const open = (site: ClusterSite): ClusterSite => {
    opened.push(site);
    return site;
  };
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((site) => site.dispose()));
  });
  const podPath = (name = "") => `api/v1/namespaces/${NAMESPACE}/pods/${name}`;

  test("is made once and whole, at whatever step the server that launched it went", async () => {
    const site = open(ClusterSite.withoutSpark());
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
    const server = await Server.open(site);
    for (const claim of claims) {
      const session = server.sessions.find(String(claim.id), NOBODY, "modify");
      expect(await session.caughtUp(60_000, soon())).toBe(true);
      expect(await site.running(claim)).toBe(1);
      await server.sessions.delete(session, "enough");
    }
    expect(await site.left()).toEqual([]);
    await server.close();
  });

  test("of a session whose deletion was begun by a server that went is gone when the next one comes", async () => {
    const site = open(ClusterSite.withoutSpark());
    const first = await site.open();
    const claim = await first.claim(draftOf(), soon());
    const workload = first.launch(claim);
    await reach(workload, "running", soon());
    const stopping = workload.stop(10_000);
    await expect.poll(async () => (await site.pods(claim))[0]?.metadata.deletionTimestamp, { timeout: 20_000, interval: 20 }).toBeDefined();
    await first.close();
    await stopping;
    const server = await Server.open(site);
    const session = server.sessions.find("0", NOBODY, "view");
    expect(await ended(session)).toMatch(/was stopped/);
    expect(session.state).toBe("killed");
    expect(await site.pods(claim)).toEqual([]);
    await server.close();
  });

  test("that somebody deletes ends its session with the reason, and all that was its goes", async () => {
    const site = open(ClusterSite.withoutSpark());
    const server = await Server.open(site);
    const session = await server.create();
    await expect.poll(() => session.logTotal, { timeout: 60_000 }).toBeGreaterThan(0);
    await expect.poll(async () => (await site.pods(session.claim))[0]?.status?.phase, { timeout: 60_000 }).toBe("Running");
    const [pod] = await site.pods(session.claim);
    await site.api.delete(podPath(pod?.metadata.name), soon());
    expect(await ended(session)).toMatch(/pod was deleted/);
    expect(session.state).toBe("dead");
    await expect.poll(() => site.left(), { timeout: 30_000 }).toEqual([`configmaps/${site.settings.instance}-session-0`]);
    await server.close();
  });

  test("that can never be placed says why while it waits, and is given up in time", async () => {
    const site = open(ClusterSite.withoutSpark({ startTimeoutMs: 5_000 }));
    const server = await Server.open(site);
    const session = await server.create({ conf: { "spark.kubernetes.node.selector.planet": "mars" } });
    await expect.poll(() => session.logTail(1).join(), { timeout: 30_000 }).toMatch(/waits for a node: .*node/);
    expect(await ended(session)).toMatch(/did not start within 5 s\. .*affinity\/selector/);
    expect(await site.pods(session.claim)).toEqual([]);
    await server.close();
  });

  test("whose image cannot be pulled fails with the puller's words", async () => {
    const site = open(ClusterSite.withoutSpark({ startTimeoutMs: 10_000 }));
    const server = await Server.open(site, { image: "127.0.0.1:1/no/such:image" });
    const session = await server.create();
    expect(await ended(session)).toMatch(/image 127\.0\.0\.1:1\/no\/such:image cannot be pulled: .*127\.0\.0\.1:1/);
    await server.close();
  });

  test("that Kubernetes does not admit fails at once with its words", async () => {
    const site = open(ClusterSite.withoutSpark({ allow: [{ rule: "hostPath", pattern: null }] }));
    const server = await Server.open(site);
    const at = "spark.kubernetes.driver.volumes.hostPath.root";
    const session = await server.create({ conf: { [`${at}.mount.path`]: "/root", [`${at}.options.path`]: "/" } });
    expect(await ended(session)).toMatch(/Kubernetes refused the driver \(Forbidden\): .*violates PodSecurity "restricted.*hostPath/);
    expect(await site.left()).toEqual([`configmaps/${site.settings.instance}-session-0`]);
    await server.close();
  });

  test("waits for quota, says so, and starts when there is some", async () => {
    const site = open(ClusterSite.withoutSpark());
    const quotas = `api/v1/namespaces/${NAMESPACE}/resourcequotas`;
    await site.api.create(quotas, { metadata: { name: "none" }, spec: { hard: { pods: "0" } } }, soon());
    try {
      const server = await Server.open(site);
      const session = await server.create();
      await expect.poll(() => session.logTail(1).join(), { timeout: 30_000 }).toMatch(/quota is used up: .*exceeded quota: none/);
      await site.api.delete(`${quotas}/none`, soon());
      await expect.poll(async () => (await site.pods(session.claim)).length, { timeout: 60_000 }).toBe(1);
      await server.close();
    } finally {
      await site.api.delete(`${quotas}/none`, soon());
    }
  });

  test("whose init container fails says so", async () => {
    const template = {
      spec: {
        initContainers: [
          {
            name: "prepare",
            image: "localhost/spark-py:4.1.4",
            command: ["sh", "-c", "echo no luck >/dev/termination-log; exit 3"],
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
          },
        ],
      },
    };
    const site = open(
      ClusterSite.withoutSpark({
        allow: [
          { rule: "podTemplate", pattern: "inline" },
          { rule: "image", pattern: null },
          { rule: "securityContext", pattern: null },
        ],
      }),
    );
    const server = await Server.open(site);
    const session = await server.create({ conf: { "spark.kubernetes.driver.podTemplateFile": JSON.stringify(template) } });
    await expect
      .poll(() => session.logTail(1).join(), { timeout: 60_000 })
      .toMatch(/Init container prepare .*failed and is started again: exit code 3: no luck/);
    await server.sessions.delete(session, "enough");
    expect(await site.left()).toEqual([]);
    await server.close();
  });

  test("answers nobody who speaks plainly, older TLS, with a wrong key or with another session's", async () => {
    const site = open(ClusterSite.withoutSpark());
    const launcher = await site.open();
    const [one, other] = await Promise.all([launcher.claim(draftOf(), soon()), launcher.claim(draftOf(), soon())]);
    const workloads = [launcher.launch(one), launcher.launch(other)] as const;
    for (const workload of workloads) {
      await reach(workload, "running", soon());
      await firstWords(workload, soon());
    }
    const [pod] = (await site.pods(one)) as readonly DriverPod[];
    const host = pod?.status?.podIP ?? "";
    const plain = connect({ host, port: 7997 });
    plain.write('{"frame":"prove"}\n');
    plain.on("error", () => undefined);
    const said: Buffer[] = [];
    plain.on("data", (data: Buffer) => said.push(data));
    await expect.poll(() => plain.closed, { timeout: 30_000 }).toBe(true);
    expect(Buffer.concat(said).toString()).not.toContain("challenge");
    const old = connectTls({ host, port: 7997, rejectUnauthorized: false, maxVersion: "TLSv1.2" });
    await expect(once(old, "secureConnect", { signal: soon() })).rejects.toThrow(/alert protocol version|ECONNRESET|EPROTO/i);
    for (const key of [new Uint8Array(32), workloads[1].key]) {
      const link = openLink({ session: one.uid, key, dial: (signal) => workloads[0].dial(signal) }, { strikes: 1 });
      const seen: string[] = [];
      for await (const event of link.events()) {
        seen.push(event.type);
        if (event.type === "refused" || event.type === "down") break;
      }
      await link.close();
      expect(seen).not.toContain("up");
    }
    await launcher.close();
  });
});
