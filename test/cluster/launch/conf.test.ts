import type { V1Container, V1Pod } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Session } from "../../../src/core/session.ts";
import { SESSION_LABEL } from "../../../src/launch/kubernetes/names.ts";
import { ClusterSite, inNamespace, NAMESPACE, SERVICE_ACCOUNT, soon } from "../../kit/cluster.ts";
import { ClusterServer, ended, ready, run, START_MS } from "../../kit/cluster-server.ts";
import { serveFiles } from "../../kit/file-server.ts";

const ROLE_BINDINGS = `apis/rbac.authorization.k8s.io/v1/namespaces/${NAMESPACE}/rolebindings`;
const TEMPLATE = "spark.kubernetes.ROLE.podTemplateFile";
const tolerations = [{ key: "dedicated", operator: "Equal", value: "spark", effect: "NoSchedule" }];

/** A session that asks for nearly everything there is to ask for, beside a volume and a Secret that an operator made. */
describe("what a session asks for in its conf", { timeout: 180_000 }, () => {
  let site: ClusterSite;
  let server: ClusterServer;
  let session: Session;
  let driver: V1Pod;
  let executor: V1Pod;
  /** Of things that belong to the whole cluster. */
  let name: string;
  const container = (pod: V1Pod): V1Container => {
    const [first] = pod.spec?.containers ?? [];
    if (first === undefined) throw new Error("the pod has no container");
    return first;
  };

  /** What nobody but an operator may make: volumes that are there already, a Secret, a priority. */
  const prepare = async (): Promise<void> => {
    const { api } = site;
    const volume = (volumeName: string, spec: object) =>
      api.create(
        "api/v1/persistentvolumes",
        {
          metadata: { name: volumeName },
          // Of a node's directories this is the one that anybody may write to.
          spec: { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], hostPath: { path: "/tmp" }, ...spec },
        },
        soon(),
      );
    await volume(`${name}-data`, { storageClassName: "", claimRef: { namespace: site.settings.namespace, name: `${name}-data` } });
    await volume(`${name}-scratch-1`, { storageClassName: name });
    await volume(`${name}-scratch-2`, { storageClassName: name });
    await api.create(
      inNamespace("persistentvolumeclaims"),
      {
        metadata: { name: `${name}-data` },
        spec: {
          storageClassName: "",
          volumeName: `${name}-data`,
          accessModes: ["ReadWriteOnce"],
          resources: { requests: { storage: "1Gi" } },
        },
      },
      soon(),
    );
    await api.create(inNamespace("secrets"), { metadata: { name: `${name}-keys` }, stringData: { token: "open sesame" } }, soon());
    await api.create("apis/scheduling.k8s.io/v1/priorityclasses", { metadata: { name }, value: 10 }, soon());
    await api.create(inNamespace("serviceaccounts"), { metadata: { name: `${name}-runner` } }, soon());
    await api.create(
      ROLE_BINDINGS,
      {
        metadata: { name },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: SERVICE_ACCOUNT },
        subjects: [{ kind: "ServiceAccount", name: `${name}-runner`, namespace: NAMESPACE }],
      },
      soon(),
    );
  };
  const tidy = async (): Promise<void> => {
    const { api } = site;
    await api.delete(inNamespace("persistentvolumeclaims", `${name}-data`), soon());
    await api.delete(inNamespace("secrets", `${name}-keys`), soon());
    await api.delete(`apis/scheduling.k8s.io/v1/priorityclasses/${name}`, soon());
    await api.delete(`${ROLE_BINDINGS}/${name}`, soon());
    await api.delete(inNamespace("serviceaccounts", `${name}-runner`), soon());
    for (const part of ["data", "scratch-1", "scratch-2"]) await api.delete(`api/v1/persistentvolumes/${name}-${part}`, soon());
  };

  /** The same of driver and executors. */
  const ofBoth = (conf: Record<string, string>): Record<string, string> =>
    Object.fromEntries(
      Object.entries(conf).flatMap(([key, value]) => ["driver", "executor"].map((role) => [key.replace("ROLE", role), value])),
    );

  beforeAll(async () => {
    site = new ClusterSite({
      allow: [
        { rule: "secret", pattern: "*-keys" },
        { rule: "priority", pattern: null },
        { rule: "scheduler", pattern: "default-scheduler" },
        { rule: "podTemplate", pattern: "inline" },
        { rule: "serviceAccount", pattern: "*-runner" },
      ],
    });
    name = site.settings.instance;
    await prepare();
    const files = await serveFiles(site);
    server = await ClusterServer.open(site);
    session = await server.create({
      jars: [`${files}/lib.jar`],
      pyFiles: [`${files}/helper.py`],
      files: [`${files}/data.txt`, "file:///etc/debian_version", "local:///etc/hostname"],
      archives: [`${files}/tools.zip#tools`],
      driverMemory: "600m",
      executorMemory: "500m",
      conf: {
        // Of a volume that no driver of storage made, "once" means a node.
        "spark.kubernetes.legacy.useReadWriteOnceAccessMode": "true",
        "spark.jars.packages": "org.example:greeting:1.0",
        "spark.jars.repositories": `${files}/repository`,
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        "spark.kubernetes.memoryOverheadFactor": "0.9",
        "spark.kubernetes.node.selector.kubernetes.io/os": "linux",
        "spark.kubernetes.scheduler.name": "default-scheduler",
        "spark.kubernetes.container.image.pullPolicy": "Never",
        "spark.kubernetes.container.image.pullSecrets": `${name}-keys`,
        "spark.kubernetes.driverEnv.COLOUR": "blue",
        "spark.executorEnv.COLOUR": "red",
        "spark.kubernetes.driver.volumes.persistentVolumeClaim.data.mount.path": "/data",
        "spark.kubernetes.driver.volumes.persistentVolumeClaim.data.options.claimName": `${name}-data`,
        ...ofBoth({
          "spark.kubernetes.authenticate.ROLE.serviceAccountName": `${name}-runner`,
          "spark.kubernetes.ROLE.request.cores": "20m",
          "spark.kubernetes.ROLE.limit.cores": "2",
          "spark.kubernetes.ROLE.label.team": "data",
          "spark.kubernetes.ROLE.annotation.example.org/note": "a note",
          "spark.kubernetes.ROLE.node.selector.kubernetes.io/arch": process.arch === "x64" ? "amd64" : process.arch,
          "spark.kubernetes.ROLE.secretKeyRef.TOKEN": `${name}-keys:token`,
          [`spark.kubernetes.ROLE.secrets.${name}-keys`]: "/etc/keys",
          "spark.kubernetes.ROLE.volumes.emptyDir.scratch.mount.path": "/scratch",
          "spark.kubernetes.ROLE.volumes.emptyDir.scratch.options.sizeLimit": "1Gi",
          "spark.kubernetes.ROLE.volumes.persistentVolumeClaim.spark-local-dir-1.mount.path": "/spill",
          "spark.kubernetes.ROLE.volumes.persistentVolumeClaim.spark-local-dir-1.options.claimName": "OnDemand",
          "spark.kubernetes.ROLE.volumes.persistentVolumeClaim.spark-local-dir-1.options.storageClass": name,
          "spark.kubernetes.ROLE.volumes.persistentVolumeClaim.spark-local-dir-1.options.sizeLimit": "1Gi",
        }),
        [TEMPLATE.replace("ROLE", "driver")]: JSON.stringify({ spec: { tolerations, priorityClassName: name } }),
        [TEMPLATE.replace("ROLE", "executor")]: `spec:\n  tolerations: ${JSON.stringify(tolerations)}\n  priorityClassName: ${name}\n`,
      },
    });
    await ready(session);
    expect(await run(session, "sc.range(100).sum()")).toContain("4950");
    const labelSelector = `${SESSION_LABEL}=${session.uid}`;
    const pods = (await site.api.list<V1Pod>(inNamespace("pods"), { labelSelector }, soon())).items;
    const of = (role: string) => pods.find(({ metadata }) => metadata?.labels?.["spark-role"] === role);
    driver = of("driver") ?? {};
    executor = of("executor") ?? {};
  }, START_MS);
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await site.dispose();
    await tidy();
  });

  test("is on the driver's pod and on the executors'", () => {
    for (const [pod, memory] of [
      [driver, 600 + 540],
      [executor, 500 + 450],
    ] as const) {
      expect(pod.metadata?.labels).toMatchObject({ team: "data" });
      expect(pod.metadata?.annotations).toMatchObject({ "example.org/note": "a note" });
      expect(pod.spec).toMatchObject({
        schedulerName: "default-scheduler",
        priorityClassName: name,
        serviceAccountName: `${name}-runner`,
        imagePullSecrets: [{ name: `${name}-keys` }],
        containers: [{ imagePullPolicy: "Never" }],
        nodeSelector: { "kubernetes.io/os": "linux", "kubernetes.io/arch": expect.any(String) },
        tolerations: expect.arrayContaining(tolerations.map((toleration) => expect.objectContaining(toleration))),
      });
      expect(container(pod).resources).toEqual({
        requests: { cpu: "20m", memory: `${memory}Mi` },
        limits: { cpu: "2", memory: `${memory}Mi` },
      });
    }
    expect(driver.spec?.volumes).toContainEqual({ name: "data", persistentVolumeClaim: { claimName: `${name}-data` } });
  });

  test("is what their processes see: variables, Secrets, volumes that can be written", async () => {
    const look = "lambda _: [os.environ['COLOUR'], os.environ['TOKEN'], open('/etc/keys/token').read(), os.access('/scratch', os.W_OK)]";
    const seen = await run(session, `import os\nlook = ${look}\nprint(look(0), sc.parallelize([0]).map(look).collect())`);
    const shared = "'open sesame', 'open sesame', True";
    expect(seen).toContain(`['blue', ${shared}] [['red', ${shared}]]`);
    const mark = `/data/${name}`;
    expect(await run(session, `open('${mark}', 'w').write('kept'); print(open('${mark}').read()); os.unlink('${mark}')`)).toContain("kept");
    const dirs = "os.environ['SPARK_LOCAL_DIRS']";
    // An executor tells its Python where it has its blocks.
    const spill = await run(session, `print(${dirs}, sc.parallelize([0]).map(lambda _: ${dirs}).collect())`);
    expect(spill).toMatch(/\/spill \['\/spill\/blockmgr-[^/,]+'\]/);
  });

  test("is on the class path and among the files of both: jars, packages, Python files, files and archives", async () => {
    const code = `
import helper
from pyspark import SparkFiles
def resource(name):
    stream = sc._jvm.Thread.currentThread().getContextClassLoader().getResourceAsStream(name)
    return bytes(stream.readAllBytes()).decode()
def there(n):
    import helper
    return helper.answer(n), open(SparkFiles.get('data.txt')).read(), open('tools/tool').read(), open(SparkFiles.get('debian_version')).read().strip()
print([resource('mark'), resource('greeting'), helper.answer(1)], sc.parallelize([1]).map(there).collect())
print(open('/etc/debian_version').read().strip(), [jar for jar in sc._jsc.sc().listJars().mkString(' ').split() if 'greeting' in jar])`;
    const seen = await run(session, code);
    expect(seen).toContain("['in a jar', 'from a package', 42] [(42, 'some data', 'a tool', '");
    expect(seen).toMatch(/greeting-1\.0\.jar/);
    expect(
      await run(session, "print(sc.getConf().get('spark.authenticate'), len(sc._jsc.sc().env().securityManager().getSecretKey()) > 20)"),
    ).toContain("true True");
  });

  test("goes when the session does, with the volumes that were claimed for it", async () => {
    const claims = async () =>
      (await site.api.list<V1Pod>(inNamespace("persistentvolumeclaims"), {}, soon())).items.flatMap(({ metadata }) =>
        metadata?.name?.startsWith(`${name}-0-`) ? [metadata.name] : [],
      );
    expect((await claims()).length).toBe(2);
    await server.sessions.delete(session, "enough");
    await expect.poll(claims, { timeout: 30_000 }).toEqual([]);
    expect(await site.left()).toEqual([`pods/${name}-files`, `configmaps/${name}-files`]);
  });
});

describe("a session", { timeout: 180_000 }, () => {
  test("gets executors as it needs them and gives them back by decommissioning", async () => {
    await using site = new ClusterSite();
    await using server = await ClusterServer.open(site);
    const session = await server.create({
      conf: {
        "spark.executor.instances": "0",
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.minExecutors": "0",
        "spark.dynamicAllocation.initialExecutors": "0",
        "spark.dynamicAllocation.maxExecutors": "2",
        "spark.dynamicAllocation.executorIdleTimeout": "2s",
        "spark.dynamicAllocation.shuffleTracking.timeout": "2s",
        "spark.decommission.enabled": "true",
        "spark.storage.decommission.enabled": "true",
        "spark.storage.decommission.shuffleBlocks.enabled": "true",
      },
    });
    const executors = async () =>
      (await site.pods(session.claim)).filter(({ metadata }) => metadata.labels?.["spark-role"] === "executor").length;
    expect(await run(session, "1 + 1")).toContain('"2"');
    expect(await executors()).toBe(0);
    expect(
      await run(
        session,
        "import time; sc.range(6, numSlices=6).map(lambda n: time.sleep(1) or (n % 2, n)).reduceByKey(lambda a, b: a + b).collect()",
      ),
    ).toMatch(/\(0, 6\)/);
    await expect.poll(executors, { timeout: 90_000, interval: 500 }).toBe(0);
    const gone =
      "ex = sc._jsc.sc().statusStore().executorList(False)\nprint([ex.apply(i).removeReason().toString() for i in range(ex.size())])";
    expect(await run(session, gone)).toMatch(/decommission/i);
    // The driver counts them every five seconds.
    await expect.poll(() => session.executors, { timeout: 20_000 }).toBe(0);
    expect(await run(session, "sc.range(10).sum()")).toContain("45");
  });

  test("whose packages or files are nowhere ends with the reason", async () => {
    await using site = new ClusterSite();
    await using server = await ClusterServer.open(site);
    const [packages, file] = await Promise.all([
      server.create({ conf: { "spark.jars.packages": "org.example:nowhere:9" } }),
      server.create({ files: ["file:///nowhere/data.txt"] }),
    ]);
    expect(await ended(file)).toMatch(
      /file:\/\/\/nowhere\/data\.txt was asked for, but where the driver runs there is no \/nowhere\/data\.txt/,
    );
    expect(await ended(packages)).toMatch(/exited with code 1: .*unresolved dependency: org\.example#nowhere;9: not found/);
    expect(packages.state).toBe("dead");
  });
});
