import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadAllYaml } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Batch } from "../../src/core/batch.ts";
import { onSession } from "../../src/core/events.ts";
import { isStatus } from "../../src/launch/kubernetes/api.ts";
import { examineCluster } from "../../src/launch/kubernetes/examine.ts";
import type { DriverPod } from "../../src/launch/kubernetes/pod-reading.ts";
import { SERVER_RIGHTS, SPARK_APPLICATION_RIGHTS } from "../../src/launch/kubernetes/rights.ts";
import { applicationsPath, type SparkApplicationObject } from "../../src/launch/kubernetes/spark-application.ts";
import type { SparkApplication } from "../../src/launch/kubernetes/spark-application-reading.ts";
import { Account, rulesOf } from "../kit/account.ts";
import { ApiProxy } from "../kit/api-proxy.ts";
import { ClusterSite, NAMESPACE, prepareNamespace, soon } from "../kit/cluster.ts";
import { ClusterServer, ended } from "../kit/cluster-server.ts";
import { goModule } from "../kit/go-module.ts";
import { kubectl } from "../kit/kubectl.ts";
import { Livy } from "../kit/livy.ts";
import { startReplica } from "../kit/replica.ts";
import { until } from "../kit/until.ts";
import { applicationOf } from "../launch/contract.ts";

const OPERATOR_VERSION = "v2.3.0";
const CRD = "crd/sparkapplications.sparkoperator.k8s.io";
const COMPONENT = fileURLToPath(new URL("../../docker/kubernetes/spark-operator/server.yaml", import.meta.url));
const RUN_MS = 120_000;

type Applied = SparkApplication & Pick<SparkApplicationObject, "spec">;

/** Does what the Spark Operator does with a SparkApplication, as its controller's source has it: the status, and a driver's pod. */
class Operator {
  readonly #site: ClusterSite;

  constructor(site: ClusterSite) {
    this.#site = site;
  }

  async applications(): Promise<readonly Applied[]> {
    const labelSelector = `app.kubernetes.io/instance=${this.#site.settings.instance}`;
    return (await this.#site.api.list<Applied>(applicationsPath(NAMESPACE), { labelSelector }, soon())).items;
  }

  /** The one of a batch's current attempt, once it is there. */
  taken(batch: { readonly uid: string }, attempt = 1): Promise<Applied> {
    const ours = ({ metadata: { name, labels } }: Applied) =>
      labels?.["longwick/session"] === batch.uid && (attempt === 1 ? !/-\d$/.test(name) : name.endsWith(`-${attempt}`));
    return until(`attempt ${attempt} is a SparkApplication`, 60_000, async () => (await this.applications()).find(ours));
  }

  async says({ metadata: { name } }: Applied, state: string, more: object = {}, errorMessage = ""): Promise<void> {
    const status = { driverInfo: { podName: name }, applicationState: { state, errorMessage }, executionAttempts: 1, ...more };
    await this.#site.api.merge(`${applicationsPath(NAMESPACE, name)}/status`, { status }, soon());
  }

  async submit(application: Applied, script: string): Promise<void> {
    await this.start(application, script);
    await this.says(application, "SUBMITTED");
  }

  /**
   * A driver's pod as spark-submit makes it of the object: the template, the labels, the name, a container behind the template's. The
   * operator says nothing before that spark-submit has ended.
   */
  async start(application: Applied, script: string): Promise<void> {
    const { metadata, spec } = application;
    const { template, labels } = spec.driver;
    const [driver] = template.spec?.containers ?? [];
    const pod = {
      metadata: {
        name: spec.sparkConf["spark.kubernetes.driver.pod.name"],
        labels: { ...metadata.labels, ...labels, "spark-role": "driver", "sparkoperator.k8s.io/launched-by-spark-operator": "true" },
      },
      spec: {
        ...template.spec,
        ...{ restartPolicy: "Never", serviceAccountName: spec.driver.serviceAccount },
        containers: [{ ...driver, image: spec.image, imagePullPolicy: spec.imagePullPolicy, command: ["sh", "-c", script] }],
      },
    };
    await this.#site.api.create<DriverPod>(this.#site.at("pods"), pod, soon());
  }
}

describe("a batch as a SparkApplication", { timeout: 2 * RUN_MS }, () => {
  const site = new ClusterSite({ batches: "spark-application" });
  const operator = new Operator(site);

  beforeAll(() => prepareNamespace(site.api));
  afterAll(async () => {
    await site.dispose();
    await kubectl(["delete", CRD, "--ignore-not-found", "--timeout=60s"]);
  });

  const open = () => ClusterServer.open(site);
  const batchOf = (server: ClusterServer, on: readonly ("driver-lost" | "submission-refused")[] = []) =>
    server.batch({ application: { ...applicationOf("local:///opt/app.py", ["x"]), retry: { maxAttempts: 3, backoffMs: 0, on: [...on] } } });
  const running = (batch: Batch) => until("it runs", 60_000, () => (batch.state === "running" ? true : undefined));
  /** What there is of it but its claim and its log. */
  const left = async () => [
    ...(await operator.applications()).map(({ metadata }) => metadata.name),
    ...(await site.left()).filter((name) => name.startsWith("pods/")),
  ];

  test("is refused where the Spark Operator is not installed, which is said at the start too", async () => {
    if ((await kubectl(["get", CRD, "--ignore-not-found", "-o", "name"])) !== "") {
      const others = await kubectl(["get", "sparkapplications", "--all-namespaces", "-o", "name"]);
      if (others !== "") throw new Error(`somebody uses the cluster's Spark Operator: ${others}`);
      await kubectl(["delete", CRD, "--timeout=60s"]);
    }
    const faults: string[] = [];
    const leave = onSession(({ event, detail }) => event === "fault" && faults.push(detail));
    await using server = await open();
    await until("the start has told of it", 20_000, () =>
      faults.some((fault) => /cannot be SparkApplications .* CRD .* is not installed/.test(fault)) ? true : undefined,
    );
    leave();
    const batch = await batchOf(server);
    expect(await ended(batch)).toMatch(
      /^The Spark Operator is not installed: the cluster has no sparkapplications\.sparkoperator\.k8s\.io/,
    );
    expect(batch.end).toMatchObject({ state: "dead", cause: "submission-refused" });
    await server.sessions.delete(batch, "it was deleted");
    const bad = (await examineCluster(site.settings)).filter(({ state }) => state === "bad");
    expect(bad).toMatchObject([{ what: "the cluster has no sparkapplications.sparkoperator.k8s.io of version v1beta2" }]);
  });

  test("finds the CRDs of a Spark Operator that is installed meanwhile", async () => {
    const module = await goModule("github.com/kubeflow/spark-operator/v2", OPERATOR_VERSION);
    await kubectl(["apply", "--server-side", "-f", join(module, "config/crd/bases/sparkoperator.k8s.io_sparkapplications.yaml")]);
    const conditions = () => kubectl(["get", CRD, "-o", "jsonpath={.status.conditions}"]);
    await until(`${CRD} is served`, 60_000, async () => (/"True","type":"Established"/.test(await conditions()) ? true : undefined));
  }, 300_000);

  test("is an object that the API server takes with every field known, and the dry run shows it", async () => {
    await using server = await startReplica(site, ["--kubernetes-batches", "spark-application"]);
    const livy = new Livy(server.url);
    const body = {
      ...{ file: "s3a://b/app.jar", className: "com.example.App", args: ["a"], jars: ["s3a://b/x.jar"], pyFiles: ["https://h/p.zip"] },
      ...{ files: ["https://h/a.txt"], archives: ["s3a://b/e.tar.gz#e"], queue: "etl", name: "full" },
      ...{ driverMemory: "1g", driverCores: 1, executorMemory: "1g", executorCores: 2, numExecutors: 3 },
      conf: {
        "spark.jars.packages": "a:b:1",
        "spark.kubernetes.driverEnv.A": "b",
        "spark.kubernetes.driver.label.team": "data",
        "spark.kubernetes.driver.volumes.emptyDir.scratch.mount.path": "/scratch",
      },
    };
    const plan = await livy.expect<{ workload: { sparkApplication: SparkApplicationObject } }>(200, "POST", "/batches?dryRun=true", body);
    const { sparkApplication: shown } = plan.workload;
    expect(shown.spec).toMatchObject({ mainClass: "com.example.App", deps: { packages: ["a:b:1"] } });
    // Nobody may act as another where nobody says who they are.
    const object = { ...shown, spec: { ...shown.spec, proxyUser: "bob" } };
    const path = `${applicationsPath(NAMESPACE)}?dryRun=All&fieldValidation=Strict`;
    const taken = await site.api.create<SparkApplicationObject>(path, object, soon());
    expect(taken.spec).toEqual(object.spec);
    const wrong = { ...object, spec: { ...object.spec, mainFile: "x" } };
    await expect(site.api.create(path, wrong, soon())).rejects.toThrow('unknown field "spec.mainFile"');
    expect(await livy.ask("POST", "/batches", { file: "upload:/0b9e2f6c-4a66-4a10-8a8e-2d4f7f3b9d11/a.py" })).toMatchObject({
      status: 400,
    });
    expect(await livy.ask("POST", "/batches", { ...body, conf: { "spark.hadoop.fs.s3a.secret.key": "x" } })).toMatchObject({
      ...{ status: 400, body: { msg: expect.stringContaining("keep it in a Secret") } },
    });
    livy.close();
  });

  test("runs through the operator's states; its driver's log is read while it lives and kept when all is gone", async () => {
    await using server = await startReplica(site, ["--kubernetes-batches", "spark-application"]);
    const livy = new Livy(server.url);
    const { id, longwick } = await livy.createBatch({ file: "local:///opt/app.py", name: "good" });
    const application = await operator.taken(longwick);
    expect(application.spec).toMatchObject({ mainApplicationFile: "local:///opt/app.py", restartPolicy: { type: "Never" } });
    await until("it says what it waits for", 20_000, async () => {
      const { state, log } = await livy.batch(id);
      return state === "starting" && log.some((line) => line.includes("waits for the Spark Operator")) ? true : undefined;
    });
    await operator.submit(application, "echo first; echo; until [ -e go ]; do sleep 0.2; done; echo last");
    await operator.says(application, "RUNNING", { sparkApplicationId: "spark-123" });
    const seen = await until("its first line is read", 60_000, async () => {
      const batch = await livy.batch(id);
      return batch.log.includes("first") ? batch : undefined;
    });
    expect(seen).toMatchObject({ state: "running", appId: "spark-123", appInfo: { sparkUiUrl: expect.stringContaining("/ui/") } });
    const follow = fetch(`${server.url}/batches/${id}/driver-log?follow`).then((answer) => answer.text());
    await kubectl(["-n", NAMESPACE, "exec", application.metadata.name, "--", "touch", "go"]);
    await until("its driver has ended", 60_000, async () => {
      const [pod] = await site.driverPods();
      return pod?.status?.phase === "Succeeded" ? true : undefined;
    });
    expect((await livy.batch(id)).state).toBe("running");
    await operator.says(application, "SUCCEEDING", { sparkApplicationId: "spark-123" });
    const end = await livy.batchIn(id, ["success"], RUN_MS);
    expect(end).toMatchObject({ appId: "spark-123", longwick: { exitCode: 0, cause: null, reason: "The application has ended." } });
    expect(await follow).toMatch(/first\n\n(.*\n)*last\n/);
    expect(await left()).toEqual([]);
    await server.restart();
    const log = await livy.batchLog(id);
    expect(log.slice(log.indexOf("first"))).toEqual(["first", "", "last", "Batch ended (success): The application has ended."]);
    await livy.deleteBatch(id);
    livy.close();
  });

  test("that fails says so with the exit code and the last error; one that could not be submitted is tried again", async () => {
    await using server = await open();
    const batch = await batchOf(server, ["submission-refused"]);
    const first = await operator.taken(batch);
    const refusal = 'failed to run spark-submit: Message: pods "x" is forbidden: exceeded quota. Received status: Status(code=403)';
    await operator.says(first, "SUBMISSION_FAILED", { executionAttempts: 0, submissionAttempts: 1 }, refusal);
    const second = await operator.taken(batch, 2);
    expect(second.metadata.name).toBe(`${first.metadata.name}-2`);
    const script = "echo 'Traceback (most recent call last):'; echo '  File x'; echo 'ValueError: no such luck'; exit 3";
    await operator.submit(second, script);
    await until("its driver has failed", 60_000, async () => ((await site.driverPods())[0]?.status?.phase === "Failed" ? true : undefined));
    await operator.says(second, "FAILING", {}, "driver container failed with ExitCode: 3, Reason: Error");
    expect(await ended(batch)).toBe("The application exited with code 3: ValueError: no such luck.");
    expect(batch.attempts).toMatchObject([
      { end: { cause: "submission-refused", reason: expect.stringContaining('pods "x" is forbidden: exceeded quota.') } },
      { end: { state: "dead", cause: "non-zero-exit", exitCode: 3 } },
    ]);
    expect(batch.logTail(20)).toContain("ValueError: no such luck");
    expect(await left()).toEqual([]);
    await server.sessions.delete(batch, "it was deleted");
  });

  test("whose driver runs although the operator could not submit it, as after a restart of that one, is lost and leaves no driver", async () => {
    await using server = await open();
    const batch = await batchOf(server, ["submission-refused"]);
    const application = await operator.taken(batch);
    await operator.start(application, "echo begun; sleep 600");
    await until("it says that its driver runs", 60_000, () =>
      batch.logTail(20).some((line) => /driver's container runs; the Spark Operator has not said so yet/.test(line)) &&
      batch.logTail(20).includes("begun")
        ? true
        : undefined,
    );
    await operator.says(application, "SUBMISSION_FAILED", { executionAttempts: 0, submissionAttempts: 1 }, "driver pod already exist");
    expect(await ended(batch)).toBe("The Spark Operator gave up the application, whose driver ran: driver pod already exist.");
    expect(batch.end).toMatchObject({ state: "dead", cause: "driver-lost" });
    expect(batch.attempts).toHaveLength(1);
    expect(await left()).toEqual([]);
    await server.sessions.delete(batch, "it was deleted");
  });

  test("that somebody deletes, object or driver, is lost, and is tried again if that was asked for", async () => {
    await using server = await open();
    const batch = await batchOf(server, ["driver-lost"]);
    const first = await operator.taken(batch);
    await operator.submit(first, "sleep 600");
    await operator.says(first, "RUNNING");
    await running(batch);
    await site.api.delete(applicationsPath(NAMESPACE, first.metadata.name), soon());
    const second = await operator.taken(batch, 2);
    expect(batch.attempts[0]?.end).toMatchObject({
      ...{ state: "dead", cause: "driver-lost", reason: `SparkApplication ${first.metadata.name} was deleted.` },
    });
    expect((await site.driverPods()).map(({ metadata }) => metadata.name)).toEqual([]);
    await operator.submit(second, "sleep 600");
    await operator.says(second, "RUNNING");
    await running(batch);
    await site.api.delete(site.at("pods", second.metadata.name), soon(), { gracePeriodSeconds: 0 });
    await operator.says(second, "FAILING", {}, "driver pod not found");
    await operator.taken(batch, 3);
    expect(batch.attempts[1]?.end).toMatchObject({ cause: "driver-lost", reason: "The driver's pod was deleted." });
    // DELETE of one that runs leaves nothing.
    await server.sessions.delete(batch, "it was deleted");
    expect(await left()).toEqual([]);
  });

  test("is carried on by another server, whatever that one's configuration says, and is made once", async () => {
    const first = await open();
    const batch = await batchOf(first);
    await first[Symbol.asyncDispose]();
    const { settings } = site;
    await using second = await ClusterServer.open(site, { ...settings, batches: "driver" });
    const application = await operator.taken(batch);
    await operator.submit(application, "echo adopted; sleep 600");
    await operator.says(application, "RUNNING", { sparkApplicationId: "spark-9" });
    const adopted = second.sessions.findBatch(String(batch.id), { name: null, remote: null }, "view");
    await running(adopted);
    await second[Symbol.asyncDispose]();
    await using third = await open();
    await using fourth = await open();
    const [one, other] = [third, fourth].map(({ sessions }) =>
      sessions.findBatch(String(batch.id), { name: null, remote: null }, "modify"),
    );
    if (one === undefined || other === undefined) throw new Error("both servers know it");
    await until("both have its log and its id", 60_000, () =>
      [one, other].every(({ state, appId }) => state === "running" && appId === "spark-9") && one.logTail(5).includes("adopted")
        ? true
        : undefined,
    );
    await operator.says(application, "COMPLETED", { sparkApplicationId: "spark-9" });
    expect(await Promise.all([ended(one), ended(other)])).toEqual(["The application has ended.", "The application has ended."]);
    expect(other.end).toEqual(one.end);
    expect(one.attempts).toHaveLength(1);
    expect(await left()).toEqual([]);
    await third.sessions.delete(one, "it was deleted");
  });

  test("loses and repeats no line, nor its end, while the API server cannot be reached now and then", async () => {
    await using proxy = await ApiProxy.start();
    await using server = await ClusterServer.open(site, { kubeconfig: proxy.kubeconfig });
    const batch = await batchOf(server);
    const application = await operator.taken(batch);
    await operator.submit(application, "for i in $(seq 1 80); do echo line $i; sleep 0.1; done");
    await operator.says(application, "RUNNING");
    const seen: string[] = [];
    const reading = (async () => {
      for await (const piece of batch.driverLines({ attempt: 1, line: 0 }, soon(RUN_MS))) if ("lines" in piece) seen.push(...piece.lines);
    })();
    for (const number of [10, 30]) {
      await until(`line ${number}`, 60_000, () => (seen.includes(`line ${number}`) ? true : undefined), 20);
      proxy.open = false;
      proxy.cut();
      if (number === 10) proxy.open = true;
    }
    await until("its driver has ended", 60_000, async () =>
      (await site.driverPods())[0]?.status?.phase === "Succeeded" ? true : undefined,
    );
    await operator.says(application, "COMPLETED");
    expect(batch.state).toBe("running");
    proxy.open = true;
    expect(await ended(batch)).toBe("The application has ended.");
    await reading;
    expect(seen).toEqual(Array.from({ length: 80 }, (_, index) => `line ${index + 1}`));
    await server.sessions.delete(batch, "it was deleted");
    expect(await left()).toEqual([]);
  });

  test("leaves no driver that the operator submitted while the batch was ended", async () => {
    await using server = await open();
    const batch = await batchOf(server);
    const application = await operator.taken(batch);
    await server.sessions.delete(batch, "it was deleted");
    expect(await left()).toEqual([]);
    await operator.submit(application, "sleep 600").catch((error: unknown) => {
      if (!isStatus(error, 404)) throw error;
    });
    await until("the stray driver has gone", 60_000, async () => ((await site.driverPods()).length === 0 ? true : undefined));
  });

  test("ends with its time to live, and with its driver's start when nobody takes it up", async () => {
    const impatient = await ClusterServer.open(site, { startTimeoutMs: 3_000 });
    const ignored = await batchOf(impatient);
    expect(await ended(ignored)).toMatch(/^The driver did not start within 3 s\. The SparkApplication waits for the Spark Operator/);
    expect(ignored.end).toMatchObject({ state: "dead", cause: "submission-refused" });
    // Another server, which leaves time to say that a driver runs.
    await impatient[Symbol.asyncDispose]();
    await using server = await open();
    const short = await server.batch({ ttlMs: 15_000, application: applicationOf("local:///opt/app.py") });
    const application = await operator.taken(short);
    await operator.says(application, "RUNNING");
    expect(await ended(short)).toBe("The session ended because its time to live of 15 s was over.");
    expect(await left()).toEqual([]);
  });

  test("that may not be made says which right is missing", async () => {
    await using poor = await Account.make(site.api, NAMESPACE, SERVER_RIGHTS);
    const found = await examineCluster({ ...site.settings, kubeconfig: poor.kubeconfig });
    expect(found).toContainEqual({
      ...{ state: "bad", what: `the server may not create/get/list/watch/delete sparkapplications in ${NAMESPACE}` },
      mend: expect.stringContaining("docker/kubernetes/spark-operator"),
    });
    await using server = await ClusterServer.open(site, { kubeconfig: poor.kubeconfig });
    const batch = await batchOf(server);
    expect(await ended(batch)).toMatch(
      /^The driver could not be started for 30 s\. The server's account .* may not create sparkapplications\.sparkoperator\.k8s\.io in/,
    );
    expect(batch.end).toMatchObject({ state: "dead", cause: "submission-refused" });
    await server.sessions.delete(batch, "it was deleted");
  });

  test("needs no right but those of the component's Role", async () => {
    const roles = (loadAllYaml(readFileSync(COMPONENT, "utf8")) as { kind: string; rules?: object }[]).filter(
      ({ kind }) => kind === "Role",
    );
    expect(roles.map(({ rules }) => rules)).toEqual([rulesOf(SPARK_APPLICATION_RIGHTS)]);
    await using enough = await Account.make(site.api, NAMESPACE, [...SERVER_RIGHTS, ...SPARK_APPLICATION_RIGHTS]);
    const found = await examineCluster({ ...site.settings, kubeconfig: enough.kubeconfig });
    expect(found).toContainEqual({ state: "ok", what: `batches can be made as SparkApplications in namespace ${NAMESPACE}` });
    await using server = await ClusterServer.open(site, { kubeconfig: enough.kubeconfig });
    const batch = await batchOf(server);
    const application = await operator.taken(batch);
    await operator.submit(application, "echo done");
    await until("its driver has ended", 60_000, async () =>
      (await site.driverPods())[0]?.status?.phase === "Succeeded" ? true : undefined,
    );
    await operator.says(application, "COMPLETED");
    expect(await ended(batch)).toBe("The application has ended.");
    expect(batch.logTail(5)).toContain("done");
    await server.sessions.delete(batch, "it was deleted");
    expect(await left()).toEqual([]);
  });
});
