import { KubeConfig, loadYaml } from "@kubernetes/client-node";
import { Api } from "./api.ts";
import { INSTANCE_LABEL, INSTANCE_LIMIT } from "./names.ts";
import type { KubernetesSettings, PodSettings } from "./settings.ts";
import { parseTemplate } from "./template.ts";

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
  const template = (text: string | null) => (text === null ? null : parseTemplate(text, loadYaml));
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
  const { api, namespace } = connectToCluster(settings);
  try {
    for (const kind of ["configmaps", "secrets"]) {
      const path = `api/v1/namespaces/${namespace}/${kind}`;
      const { items } = await api.list<{ metadata: { name: string } }>(
        path,
        { labelSelector: `${INSTANCE_LABEL}=${settings.instance}` },
        signal,
      );
      await Promise.all(items.map(({ metadata: { name } }) => api.delete(`${path}/${name}`, signal)));
    }
  } finally {
    api.close();
  }
};
