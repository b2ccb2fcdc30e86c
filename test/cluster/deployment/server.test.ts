import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { STOCK_IMAGE } from "../../kit/cluster.ts";
import { type Deployment, deploy } from "../../kit/deployment.ts";
import { exchange } from "../../kit/http.ts";
import { forward, kubectl, warningsOf } from "../../kit/kubectl.ts";
import { Livy, textOf } from "../../kit/livy.ts";
import { until } from "../../kit/until.ts";

const START_MS = 180_000;
const TAG = "jsonpath={.metadata.labels.spark-app-tag}";

interface UiInfo {
  readonly appId: string;
  readonly appInfo: { readonly sparkUiUrl: string; readonly driverLogUrl: string };
}
interface Named {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec: { readonly serviceAccountName?: string };
}

describe("the server in the cluster, from the manifests", { timeout: 400_000 }, () => {
  let deployment: Deployment;
  let way: Awaited<ReturnType<Deployment["reach"]>>;
  let livy: Livy;
  beforeAll(async () => {
    deployment = await deploy({ config: `kubernetesAllow = ["image=${STOCK_IMAGE}"]` });
    way = await deployment.reach();
    livy = new Livy(way.url, deployment.headers);
  }, 300_000);
  afterAll(async () => {
    livy?.close();
    await way?.[Symbol.asyncDispose]();
    await deployment?.[Symbol.asyncDispose]();
  }, 200_000);

  const pods = async (selector: string): Promise<readonly Named[]> => {
    const { items } = JSON.parse(await deployment.sessionsKubectl("get", "pods", "--selector", selector, "--output=json")) as {
      items: Named[];
    };
    return items;
  };
  /** Kubernetes' own verdict on every pod that runs in a namespace: a warning names each that Pod Security would not let in. */
  const violations = (namespace: string): Promise<string> => {
    const labels = ["enforce=restricted", "enforce-version=latest"].map((label) => `pod-security.kubernetes.io/${label}`);
    return warningsOf(["label", "namespace", namespace, "--dry-run=server", "--overwrite", ...labels]);
  };

  test("asks for a token, and takes no other one", async () => {
    const nobody = new Livy(way.url);
    const stranger = new Livy(way.url, { Authorization: `Bearer ${"0".repeat(48)}` });
    expect((await nobody.ask("POST", "/sessions", { kind: "pyspark" })).status).toBe(401);
    expect((await stranger.ask("GET", "/sessions")).status).toBe(401);
    expect((await livy.ask("GET", "/sessions")).status).toBe(200);
    nobody.close();
    stranger.close();
  });

  test("a figure and a table on the rich image; its tag lists driver and executors; every pod is 'restricted'; nothing is left", async () => {
    const session = await livy.create({ kind: "pyspark" });
    await livy.inState(session.id, ["idle"], START_MS);
    const hosts = "import socket; sorted(set(sc.range(8, numSlices=8).map(lambda _: socket.gethostname()).collect()))";
    const executors = textOf(await livy.run(session.id, hosts, undefined, START_MS));

    const figure = await livy.run(session.id, "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9]); plt.show()", undefined, START_MS);
    const png = figure.output?.status === "ok" ? String(figure.output.data["image/png"]) : textOf(figure);
    expect(Buffer.from(png, "base64").subarray(1, 4).toString()).toBe("PNG");
    const table = await livy.run(session.id, "spark.range(3).toPandas()", undefined, START_MS);
    expect(table.output?.status === "ok" ? table.output.data["text/html"] : textOf(table)).toMatch(/<table[\s\S]*<th>id<\/th>/);

    const [driver] = await pods("spark-role=driver");
    const tag = (await deployment.sessionsKubectl("get", "pod", driver?.metadata.name ?? "", "--output", TAG)).trim();
    const named = (await deployment.sessionsKubectl("get", "pods", "-l", `spark-app-tag=${tag}`, "--output=name"))
      .trim()
      .split("\n")
      .sort();
    expect(named).toEqual([`pod/${tag}`, `pod/${tag}-exec-1`]);
    expect(executors).toBe(`['${tag}-exec-1']`);
    const token = "import os; sc.range(1).map(lambda _: os.path.exists('/var/run/secrets/kubernetes.io')).collect()";
    expect(textOf(await livy.run(session.id, token))).toBe("[False]");
    expect((await deployment.sessionsKubectl("get", "pods", "--output=name")).trim().split("\n").sort()).toEqual(named);

    for (const namespace of [deployment.namespace, deployment.sessionsNamespace]) expect(await violations(namespace)).toBe("");

    await livy.delete(session.id);
    expect(await deployment.sessionsKubectl("get", "pods,secrets,services,persistentvolumeclaims", "--output=name")).toBe("");
    expect((await deployment.sessionsKubectl("get", "configmaps", "--output=name")).trim()).toBe("configmap/kube-root-ca.crt");
  });

  test("Spark's UI is shown by either server to who has a token; what its pages fetch needs their ticket alone", async () => {
    const { id } = await livy.create({ kind: "pyspark" });
    await livy.inState(id, ["idle"], START_MS);
    const { appInfo, appId } = await livy.expect<UiInfo>(200, "GET", `/sessions/${id}`);
    expect(appInfo.sparkUiUrl).toBe(`${way.url}/sessions/${id}/ui/`);
    expect(appInfo.driverLogUrl).toBe(`${way.url}/sessions/${id}/driver-log`);
    const { pathname } = new URL(appInfo.sparkUiUrl);

    const pods = await deployment.kubectl("get", "pods", "--selector=app.kubernetes.io/component=server", "--output=name");
    const [one = "", other = "", ...more] = pods.trim().split("\n");
    expect(more).toEqual([]);
    await using wayToOne = await forward(deployment.namespace, one, 8998);
    await using wayToOther = await forward(deployment.namespace, other, 8998);
    const [first, second] = [`http://127.0.0.1:${wayToOne.port}`, `http://127.0.0.1:${wayToOther.port}`];
    const get = (server: string, path: string, headers = {}) => exchange(server, { method: "GET", path, headers });
    expect((await get(first, pathname)).status).toBe(401);
    const { status, headers } = await get(first, pathname, deployment.headers);
    const page = new URL(headers.location ?? "", first).pathname;
    expect([status, page]).toEqual([302, expect.stringMatching(/\/ui\/~[\w-]{43}\/jobs\/$/)]);
    for (const server of [first, second]) {
      const shown = await get(server, page);
      expect([shown.status, shown.headers["content-security-policy"]]).toEqual([200, expect.stringMatching(/^sandbox /)]);
      expect(shown.body).toContain("Spark Jobs");
      const applications = await get(server, page.replace("jobs/", "api/v1/applications"), { origin: "null" });
      expect(applications.body).toMatchObject([{ id: appId }]);
      expect((await get(server, page.replace(/~[\w-]{43}/, `~${"x".repeat(43)}`))).status).toBe(401);
    }
    const log = await get(second, new URL(appInfo.driverLogUrl).pathname, deployment.headers);
    expect([log.status, log.body]).toEqual([200, expect.stringContaining("The driver's pod is being made")]);
    await livy.delete(id);
  });

  test("the rights of a driver are enough: its log tells of nothing that was denied to it", async () => {
    const conf = {
      "spark.dynamicAllocation.enabled": "true",
      "spark.dynamicAllocation.shuffleTracking.enabled": "true",
      "spark.dynamicAllocation.executorIdleTimeout": "3s",
      "spark.decommission.enabled": "true",
      "spark.kubernetes.executor.decommissionLabel": "leaving",
      "spark.kubernetes.executor.decommissionLabelValue": "yes",
    };
    const session = await livy.create({ kind: "pyspark", conf });
    await livy.inState(session.id, ["idle"], START_MS);
    // Without a shuffle, whose files would keep it.
    expect(textOf(await livy.run(session.id, "sc.range(10).map(lambda n: n * n).sum()", undefined, START_MS))).toBe("285");
    const leaving = async () => (await pods("spark-role=executor")).every(({ metadata }) => metadata.labels?.["leaving"] === "yes");
    await until("the idle executor is told to leave", 90_000, async () => ((await leaving()) ? true : undefined), 500);
    await livy.run(session.id, "spark.stop()");
    const log = await deployment.sessionsKubectl("logs", "--selector=spark-role=driver", "--tail=2000");
    expect(log.match(/cannot \w+ resource .*/g)).toBeNull();
    await livy.delete(session.id);
  });

  test("Spark's own layout without IPython and without an entrypoint of ours runs code on an executor", async () => {
    const session = await livy.create({ kind: "pyspark", conf: { "spark.kubernetes.container.image": STOCK_IMAGE } });
    await livy.inState(session.id, ["idle"], START_MS);
    const run = async (code: string) => textOf(await livy.run(session.id, code, undefined, START_MS));
    expect(await run("import importlib.util as u; [u.find_spec(name) is None for name in ('IPython', 'pandas', 'matplotlib')]")).toBe(
      "[True, True, True]",
    );
    expect(await run("sc.range(100).map(lambda n: n * n).sum()")).toBe("328350");
    expect(await run("spark.sql('select 6 * 7 as answer').first().answer")).toBe("42");
    expect(await run("1 / 0")).toBe("ZeroDivisionError: division by zero");
    await livy.delete(session.id);
  });

  test("an upgrade refuses nobody: the old server leaves when the new one answers, and its session goes on", async () => {
    const session = await livy.create({ kind: "pyspark" });
    await livy.inState(session.id, ["idle"], START_MS);
    await livy.run(session.id, "x = 41");
    // Asked from within the cluster through the Service, as clients there do; a forwarded port would go with its pod.
    const [driver] = await pods("spark-role=driver");
    const inDriver = (...command: readonly string[]) => deployment.sessionsKubectl("exec", driver?.metadata.name ?? "", "--", ...command);
    const servers = async () =>
      (await deployment.kubectl("get", "pods", "--selector=app.kubernetes.io/component=server", "--output=name")).split("\n");
    const old = (await servers()).filter((name) => name !== "");
    expect(old).not.toEqual([]);
    const asking = inDriver("python3", "-c", ASK, deployment.namespace, deployment.token);
    await until("the first request is answered", 30_000, async () =>
      (await inDriver("ls", "/tmp")).includes("answered") ? true : undefined,
    );
    await deployment.kubectl("rollout", "restart", "deployment/longwick");
    await deployment.rolledOut();
    await until("the old servers are gone", 90_000, async () => {
      const left = await servers();
      return old.some((name) => left.includes(name)) ? undefined : true;
    });
    await inDriver("touch", "/tmp/enough");
    expect(JSON.parse(await asking)).toEqual([]);
    await way[Symbol.asyncDispose]();
    way = await deployment.reach();
    livy.close();
    livy = new Livy(way.url, deployment.headers);
    expect(textOf(await livy.run(session.id, "x + 1", undefined, START_MS))).toBe("42");
    await livy.delete(session.id);
  });

  test("without its users no server starts", async () => {
    const { namespace } = deployment;
    await deployment.kubectl("delete", "secret", "longwick-users");
    await deployment.kubectl("delete", "pods", "--selector=app.kubernetes.io/component=server", "--wait=false");
    await until(
      "the new pod waits for the Secret",
      90_000,
      async () =>
        (await kubectl(["--namespace", namespace, "get", "events"])).includes('secret "longwick-users" not found') ? true : undefined,
      500,
    );
  });
});

/** Asks the server for its sessions, on a new connection each time, until `/tmp/enough` is there; `/tmp/answered` is there from the first answer on. Prints what failed. */
const ASK = `
import json, os, sys, time, urllib.request
namespace, token = sys.argv[1:]
request = urllib.request.Request(f"http://longwick.{namespace}.svc:8998/sessions", headers={"Authorization": f"Bearer {token}"})
failed, end = [], time.monotonic() + 170
while not os.path.exists("/tmp/enough") and time.monotonic() < end:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            json.load(answer)
        open("/tmp/answered", "w").close()
    except Exception as error:
        failed.append(repr(error))
    time.sleep(0.05)
print(json.dumps(failed))
`;
