import { KubeConfig } from "@kubernetes/client-node";
import { Api } from "./api.ts";
import { INSTANCE_LABEL } from "./names.ts";
import type { KubernetesSettings } from "./settings.ts";

type ClusterSettings = Pick<KubernetesSettings, "kubeconfig" | "context" | "serverNamespace">;

/** The cluster that the settings or the kubeconfig name, and the server's own namespace in it. @throws Error when none is named */
export const connectToCluster = (
  settings: ClusterSettings,
): { readonly api: Api; readonly namespace: string; readonly inCluster: boolean } => {
  const config = new KubeConfig();
  if (settings.kubeconfig === null) config.loadFromDefault();
  else config.loadFromFile(settings.kubeconfig);
  if (settings.context !== null) config.setCurrentContext(settings.context);
  const namespace = settings.serverNamespace ?? config.getContextObject(config.getCurrentContext())?.namespace ?? "default";
  return { api: new Api(config), namespace, inCluster: config.getCurrentContext() === "inClusterContext" };
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
