import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ClusterSite, IMAGE, NAMESPACE } from "../kit/cluster.ts";
import { type Answer, exchange } from "../kit/http.ts";
import { Livy, type SessionInfo, textOf } from "../kit/livy.ts";
import { type Server, startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

const START_MS = 180_000;

/** A whole server, outside of the cluster, for an instance of its own. */
const serve = (site: ClusterSite, flags: readonly string[] = []): Promise<Server> => {
  const { instance, reach, spark } = site.settings;
  const settings = {
    ...{
      launcher: "kubernetes",
      "kubernetes-image": IMAGE,
      "kubernetes-image-pull-policy": "IfNotPresent",
      "kubernetes-instance": instance,
    },
    ...{ "kubernetes-namespace": NAMESPACE, "kubernetes-server-namespace": NAMESPACE, "kubernetes-reach": reach ?? "auto" },
  };
  const named = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const conf = Object.entries(spark.sparkConf).flatMap(([key, value]) => ["--spark-conf", `${key}=${value}`]);
  return startServer({ python: "python3", flags: [...named, ...conf, ...flags] });
};

const linesOf = async (server: Server, session: number): Promise<readonly string[]> =>
  String((await exchange(server.url, { method: "GET", path: `/sessions/${session}/driver-log` })).body)
    .trimEnd()
    .split("\n");

/** Its session is given up only when its container has been started again three times: meanwhile others are tested. */
let broken: { readonly site: ClusterSite; readonly server: Server; readonly livy: Livy };
beforeAll(async () => {
  const site = new ClusterSite();
  const server = await serve(site, ["--kubernetes-python", "/bin/cat"]);
  broken = { site, server, livy: new Livy(server.url) };
  await broken.livy.create();
});
afterAll(async () => {
  broken.livy.close();
  await broken.server[Symbol.asyncDispose]();
  await broken.site.dispose();
});

describe.each(["address", "port-forward"] as const)("a driver's pod that is reached by %s", { timeout: 300_000 }, (reach) => {
  let site: ClusterSite;
  let server: Server;
  let livy: Livy;
  let session: number;

  beforeAll(async () => {
    site = new ClusterSite({ reach });
    server = await serve(site);
    livy = new Livy(server.url);
    const { id } = await livy.create();
    session = (await livy.inState(id, ["idle"], START_MS)).id;
  }, 300_000);
  afterAll(async () => {
    livy.close();
    await server[Symbol.asyncDispose]();
    expect(await site.left()).toEqual([]);
    await site.dispose();
  }, 120_000);

  const ask = (path: string, headers: Record<string, string> = {}): Promise<Answer> =>
    exchange(server.url, { method: "GET", path: path.startsWith("/sessions") ? path : `/sessions/${session}/ui${path}`, headers });
  const run = async (code: string): Promise<string> => textOf(await livy.run(session, code, "pyspark", START_MS));

  test("shows Spark's UI with its executors, and its files whole", async () => {
    expect(await run("sc.range(8, numSlices=2).sum()")).toBe("28");
    const { status, headers } = await ask("/");
    expect([status, headers.location]).toEqual([302, expect.stringMatching(/^\/sessions\/\d+\/ui\/~[\w-]{43}\/jobs\/$/)]);
    const root = String(headers.location).replace("jobs/", "");
    const page = await ask(`${root}jobs/`);
    expect([page.status, String(page.body).includes(`${root}static/webui.js`)]).toEqual([200, true]);
    const script = await ask(/src="([^"]+jquery[^"]*\.js)"/.exec(String(page.body))?.[1] ?? "/none");
    expect([script.status, script.bytes > 50_000]).toEqual([200, true]);
    const asFetched = { origin: "null" };
    const [{ id }] = (await ask(`${root}api/v1/applications`, asFetched)).body as [{ id: string }];
    const executors = await until("an executor is shown", START_MS, async () => {
      const all = (await ask(`${root}api/v1/applications/${id}/executors`, asFetched)).body as { id: string }[];
      return all.length > 1 ? all.map((executor) => executor.id).sort() : undefined;
    });
    expect(executors).toEqual(["1", "driver"]);
  });

  test("has its UI where nobody gets at it but by the supervisor", async () => {
    const port = Number(/:(\d+)/.exec(await run("print(sc.uiWebUrl)"))?.[1]);
    const [pod] = (await site.driverPods()).map(({ status }) => status?.podIP);
    const answer = await new Promise<string>((resolve) => {
      const socket = connect({ host: pod ?? "", port });
      socket.once("connect", () => resolve("open")).once("error", (error: Error & { code?: string }) => resolve(error.code ?? ""));
      socket.once("connect", () => socket.destroy());
    });
    expect([port, answer]).toEqual([4040, "ECONNREFUSED"]);
  });

  test("leaves its log when it and the server have gone: its launch, what was written, its end", async () => {
    await run("import os; [os.system('echo line %d >&2' % n) for n in range(400)]");
    const running = await until("the log has it all", 20_000, async () => {
      const lines = await linesOf(server, session);
      return lines.includes("line 399") ? lines : undefined;
    });
    expect(running[0]).toMatch(/^The driver's pod is being made/);
    const { body } = await ask(`/sessions/${session}/log?from=0&size=3`);
    expect(body).toMatchObject({ from: 0, log: running.slice(0, 3) });
    await livy.expect(204, "POST", `/sessions/${session}/stop`, null, 120_000);
    expect(await site.driverPods()).toEqual([]);
    await server.restart();
    const kept = await linesOf(server, session);
    expect(kept).toEqual(expect.arrayContaining(["line 0", "line 200", "line 399"]));
    expect(kept.at(-1)).toBe("Session ended (dead): it was stopped");
  });
});

test("a container that cannot run the supervisor is heard in the session's log", { timeout: 300_000 }, async () => {
  const { log } = await until("the session is given up", 240_000, async () => {
    const session = await broken.livy.expect<SessionInfo>(200, "GET", "/sessions/0");
    return session.state === "dead" ? session : undefined;
  });
  expect(log.join("\n")).toContain("cat: invalid option -- 'm'");
  const lines = await linesOf(broken.server, 0);
  expect(lines[0]).toMatch(/^The driver's pod is being made/);
  expect(lines.filter((line) => line.startsWith("/bin/cat: invalid option"))).toHaveLength(1);
  expect(lines.join("\n")).toMatch(/container ended: exit code 1.*It is being started again/);
});
