import { readFile } from "node:fs/promises";
import { KubeConfig, type V1Pod } from "@kubernetes/client-node";
import type { Claim, Launcher } from "../../src/core/ports.ts";
import { Api, isStatus } from "../../src/launch/kubernetes/api.ts";
import { claimName, INSTANCE_LABEL, SESSION_LABEL } from "../../src/launch/kubernetes/names.ts";
import type { DriverPod } from "../../src/launch/kubernetes/pod-reading.ts";
import { DRIVER_RIGHTS } from "../../src/launch/kubernetes/rights.ts";
import type { KubernetesSettings } from "../../src/launch/kubernetes/settings.ts";
import { openKubernetesLauncher } from "../../src/launch/kubernetes.ts";
import { processesOf } from "../../src/launch/processes.ts";
import type { LaunchSite } from "../launch/contract.ts";
import { POD_SETTINGS, SHIM, SPARK_SETTINGS, STUB_JAVA } from "./launch-settings.ts";

/** The namespace that all tests share, under Pod Security "restricted"; each site has an instance name of its own in it. */
export const NAMESPACE = "longwick-test";
export const SERVICE_ACCOUNT = POD_SETTINGS.serviceAccount;
/** Spark with Python and Java in the usual places, and nothing of ours. */
export const IMAGE = process.env["LONGWICK_TEST_IMAGE"] ?? "localhost/spark-py:4.1.4";
/** Spark laid out as in its own images, without IPython. */
export const STOCK_IMAGE = process.env["LONGWICK_TEST_STOCK_IMAGE"] ?? "localhost/spark-stock:4.1.4";
/** What docker/driver.Dockerfile makes. */
export const DRIVER_IMAGE = process.env["LONGWICK_TEST_DRIVER_IMAGE"] ?? "localhost/longwick-driver:test";
/** What docker/server.Dockerfile makes. */
export const SERVER_IMAGE = process.env["LONGWICK_TEST_SERVER_IMAGE"] ?? "localhost/longwick-server:test";
const STUB = "stub-java";

export const soon = (ms = 60_000): AbortSignal => AbortSignal.timeout(ms);

/** A path of the API in the tests' namespace, or in another. */
export const inNamespace = (kind: string, name = "", namespace = NAMESPACE): string =>
  `api/v1/namespaces/${namespace}/${kind}${name === "" ? "" : `/${name}`}`;

export const testApi = (): Api => {
  const config = new KubeConfig();
  config.loadFromDefault();
  return new Api(config);
};

const ifMissing = async (asked: Promise<unknown>): Promise<void> => {
  await asked.catch((error: unknown) => {
    if (!isStatus(error, 409)) throw error;
  });
};

/** What an operator does once: a namespace, and an account that may make executors. */
export const prepareNamespace = async (api: Api, namespace = NAMESPACE): Promise<void> => {
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  await ifMissing(api.create("api/v1/namespaces", { metadata: { name: namespace, labels } }, soon()));
  const core = `api/v1/namespaces/${namespace}`;
  const rbac = `apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
  const rules = DRIVER_RIGHTS.map(({ resource, verbs }) => ({ apiGroups: [""], resources: [resource], verbs }));
  const name = SERVICE_ACCOUNT;
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name };
  await ifMissing(api.create(`${core}/serviceaccounts`, { metadata: { name } }, soon()));
  await ifMissing(api.create(`${rbac}/roles`, { metadata: { name }, rules }, soon()));
  await ifMissing(
    api.create(`${rbac}/rolebindings`, { metadata: { name }, roleRef, subjects: [{ kind: "ServiceAccount", name, namespace }] }, soon()),
  );
  await ifMissing(api.create(`${core}/configmaps`, { metadata: { name: STUB }, data: { java: STUB_JAVA } }, soon()));
};

/** What launches and ends drivers needs no Spark. */
const WITHOUT_SPARK: V1Pod = {
  spec: {
    volumes: [{ name: STUB, configMap: { name: STUB, defaultMode: 0o555 } }],
    containers: [
      { name: "any", volumeMounts: [{ name: STUB, mountPath: "/stub" }], resources: { requests: { cpu: "10m", memory: "32Mi" } } },
    ],
  },
};

/** Settings as an operator might give them, for small drivers. */
const clusterSettings = (instance: string): KubernetesSettings => ({
  ...POD_SETTINGS,
  kubeconfig: null,
  context: null,
  serverNamespace: NAMESPACE,
  masterKeyFile: null,
  reach: "address",
  shimDir: SHIM,
  startTimeoutMs: 120_000,
  spark: {
    ...SPARK_SETTINGS,
    sparkConf: {
      "spark.kubernetes.driver.request.cores": "10m",
      "spark.kubernetes.executor.request.cores": "10m",
      "spark.executor.instances": "1",
      "spark.executor.memory": "600m",
    },
  },
  instance,
  namespace: NAMESPACE,
  image: IMAGE,
  imagePullPolicy: "IfNotPresent",
});

/** An instance of its own in the cluster. */
export class ClusterSite implements LaunchSite, AsyncDisposable {
  readonly api = testApi();
  readonly settings: KubernetesSettings;
  readonly #launchers: Launcher[] = [];

  constructor(asked: Partial<KubernetesSettings> = {}) {
    const instance = `t${Math.random().toString(36).slice(2, 10)}`;
    this.settings = { ...clusterSettings(instance), ...asked };
  }

  /** Its supervisors are real, its JVMs are not. */
  static withoutSpark(asked: Partial<KubernetesSettings> = {}): ClusterSite {
    return new ClusterSite({ java: "/stub/java", driverTemplate: JSON.stringify(WITHOUT_SPARK), ...asked });
  }

  async open(asked: Partial<KubernetesSettings> = {}): Promise<Launcher> {
    const launcher = await openKubernetesLauncher({ ...this.settings, ...asked });
    this.#launchers.push(launcher);
    return launcher;
  }

  openBroken(): Promise<Launcher> {
    return this.open({ image: "localhost/no-such-image:1", imagePullPolicy: "Never" });
  }

  /** A launcher holds nothing in the cluster that its death would leave. */
  abandon(launcher: Launcher): Promise<void> {
    return launcher.close();
  }

  /** A path of the API in its namespace. */
  at(kind: string, name = ""): string {
    return inNamespace(kind, name, this.settings.namespace ?? NAMESPACE);
  }

  async pods(claim: Claim): Promise<readonly DriverPod[]> {
    const query = { labelSelector: `${SESSION_LABEL}=${claim.uid}` };
    return (await this.api.list<DriverPod>(this.at("pods"), query, soon())).items;
  }

  /** Those of all this instance's sessions. */
  async driverPods(): Promise<readonly DriverPod[]> {
    const query = { labelSelector: `${INSTANCE_LABEL}=${this.settings.instance},spark-role=driver` };
    return (await this.api.list<DriverPod>(`api/v1/namespaces/${NAMESPACE}/pods`, query, soon())).items;
  }

  async running(claim: Claim): Promise<number> {
    return (await this.pods(claim)).filter(({ status }) => status?.phase !== "Succeeded" && status?.phase !== "Failed").length;
  }

  /** The cluster's pods are processes of this machine: nobody inside of a container can kill its first process. */
  async crash(claim: Claim): Promise<void> {
    for (const pid of await processesOf(claim.uid)) {
      const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      if (!command.includes("/etc/longwick/driver.json")) continue;
      process.kill(pid, "SIGKILL");
      return;
    }
    throw new Error("the supervisor is no process of this machine");
  }

  /** The name that a session's claim has among what is left. */
  claimOf(claim: Claim): string {
    return `configmaps/${claimName(this.settings.instance, claim.id)}`;
  }

  /** The objects of this instance, but the mark of ids and the master key. */
  async left(namespace = this.settings.namespace ?? NAMESPACE): Promise<readonly string[]> {
    const query = { labelSelector: `${INSTANCE_LABEL}=${this.settings.instance},longwick/part notin (ids,master-key)` };
    const names: string[] = [];
    for (const kind of KINDS) {
      const { items } = await this.api.list<DriverPod>(inNamespace(kind, "", namespace), query, soon());
      names.push(...items.map(({ metadata }) => `${kind}/${metadata.name}`));
    }
    return names;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#launchers.splice(0).map((launcher) => launcher.close()));
    const query = { labelSelector: `${INSTANCE_LABEL}=${this.settings.instance}` };
    for (const kind of KINDS) await this.api.delete(this.at(kind), soon(), { gracePeriodSeconds: 0 }, query);
    this.api.close();
  }
}
const KINDS = ["pods", "configmaps", "secrets"];
