import { KubeConfig } from "@kubernetes/client-node";
import { Api, METADATA_ONLY } from "./api.ts";
import { INSTANCE_LABEL, INSTANCE_LIMIT, ROLE_LABEL } from "./names.ts";
import type { DriverPod } from "./pod-reading.ts";
import type { KubernetesSettings, PodSettings } from "./settings.ts";
import { parseTemplate } from "./template.ts";
import type { Stored } from "./watch.ts";
import { readYaml } from "./yaml.ts";

type ClusterSettings = Pick<KubernetesSettings, "kubeconfig" | "context" | "serverNamespace">;

/** A cluster of which nothing has been asked yet. */
export interface Cluster {
  readonly api: Api;
  /** Where the API server is. */
  readonly server: string;
  /** The kubeconfig's context; null: the account of the pod that this server runs in. */
  readonly context: string | null;
  /** The server's own: where claims and the master key are kept. */
  readonly namespace: string;
}

/** The cluster that the settings or the kubeconfig name. @throws Error when none is named */
export const connectToCluster = (settings: ClusterSettings): Cluster => {
  const config = new KubeConfig();
  if (settings.kubeconfig === null) config.loadFromDefault();
  else config.loadFromFile(settings.kubeconfig);
  if (settings.context !== null) config.setCurrentContext(settings.context);
  const context = config.getCurrentContext();
  return {
    api: new Api(config),
    server: config.getCurrentCluster()?.server ?? "",
    context: context === "inClusterContext" ? null : context,
    namespace: settings.serverNamespace ?? config.getContextObject(context)?.namespace ?? "default",
  };
};

/** A cluster, and how drivers are made and reached there. */
export interface DriverCluster extends Cluster {
  readonly pods: PodSettings;
  readonly reach: "address" | "port-forward";
}

/** @throws Error when no cluster is named or a setting cannot be used */
export const openCluster = (settings: KubernetesSettings): DriverCluster => {
  if (!/^[a-z]([-a-z0-9]*[a-z0-9])?$/.test(settings.instance) || settings.instance.length > INSTANCE_LIMIT)
    throw new Error(`the instance name '${settings.instance}' must be a DNS label of at most ${INSTANCE_LIMIT} characters`);
  const template = (text: string | null) => (text === null ? null : parseTemplate(text, readYaml));
  const [driverTemplate, executorTemplate] = [template(settings.driverTemplate), template(settings.executorTemplate)];
  const cluster = connectToCluster(settings);
  const namespace = settings.namespace ?? cluster.namespace;
  // As conf it is kept in each session's claim: where a session is does not change with the configuration.
  const spark = { ...settings.spark, sparkConf: { "spark.kubernetes.namespace": namespace, ...settings.spark.sparkConf } };
  return {
    ...cluster,
    pods: { ...settings, spark, namespace, driverTemplate, executorTemplate },
    reach: settings.reach ?? (cluster.context === null ? "address" : "port-forward"),
  };
};

/** Removes what an instance keeps in its server's namespace (claims, names, its master key): for an instance that nobody comes back to. */
export const removeInstance = async (
  settings: ClusterSettings & Pick<KubernetesSettings, "instance">,
  signal: AbortSignal,
): Promise<void> => {
  const cluster = connectToCluster(settings);
  try {
    await forget(cluster, settings.instance, signal);
  } finally {
    cluster.api.close();
  }
};

const forget = async ({ api, namespace }: Cluster, instance: string, signal: AbortSignal): Promise<void> => {
  for (const kind of ["configmaps", "secrets"]) {
    const path = `api/v1/namespaces/${namespace}/${kind}`;
    const { items } = await api.list<Stored>(path, { labelSelector: `${INSTANCE_LABEL}=${instance}` }, signal, METADATA_ONLY);
    await Promise.all(items.map(({ metadata: { name } }) => api.delete(`${path}/${name}`, signal)));
  }
};

export interface Abandoned {
  /** What the instances' names begin with. */
  readonly prefix: string;
  /** How long ago all of an instance's drivers must have ended. */
  readonly endedMs: number;
}

/**
 * Removes instances whose servers were killed: all of their drivers have ended by their own rules, long ago, and a server that lived would
 * have removed them.
 */
export const removeAbandoned = async (
  settings: ClusterSettings & Pick<KubernetesSettings, "namespace">,
  { prefix, endedMs }: Abandoned,
  signal: AbortSignal,
): Promise<void> => {
  const cluster = connectToCluster(settings);
  const { api } = cluster;
  try {
    const path = `api/v1/namespaces/${settings.namespace ?? cluster.namespace}/pods`;
    const { items } = await api.list<DriverPod>(path, { labelSelector: `${INSTANCE_LABEL},${ROLE_LABEL}=driver` }, signal);
    const instances = Map.groupBy(items, ({ metadata }) => metadata.labels?.[INSTANCE_LABEL] ?? "");
    for (const [instance, pods] of instances) {
      if (!instance.startsWith(prefix) || pods.some((pod) => Date.now() - endOf(pod) < endedMs)) continue;
      // What belongs to a pod goes with it.
      await Promise.all(pods.map(({ metadata: { name } }) => api.delete(`${path}/${name}`, signal)));
      await forget(cluster, instance, signal);
    }
  } finally {
    api.close();
  }
};

/** Unix time in milliseconds; never, while any of its containers may run. */
const endOf = ({ status }: DriverPod): number => {
  if (status?.phase !== "Succeeded" && status?.phase !== "Failed") return Number.POSITIVE_INFINITY;
  const ends = (status.containerStatuses ?? []).map(({ state }) => Date.parse(state?.terminated?.finishedAt ?? ""));
  return ends.length === 0 || ends.some(Number.isNaN) ? Number.POSITIVE_INFINITY : Math.max(...ends);
};
