import type { ClusterSite } from "./cluster.ts";
import { type Server, startServer } from "./server.ts";

/**
 * A real server of a site's instance, as a process of its own outside of the cluster; several are replicas of one another. Disposing it
 * deletes every session of the instance.
 */
export const startReplica = (site: ClusterSite, flags: readonly string[] = []): Promise<Server> => {
  const { instance, serverNamespace, namespace, image, serviceAccount, spark, allow } = site.settings;
  const given: Readonly<Record<string, string | null>> = {
    "--launcher": "kubernetes",
    "--kubernetes-instance": instance,
    "--kubernetes-server-namespace": serverNamespace,
    "--kubernetes-namespace": namespace,
    "--kubernetes-image": image,
    "--kubernetes-image-pull-policy": "IfNotPresent",
    "--kubernetes-service-account": serviceAccount,
    "--kubernetes-reach": "address",
    "--spark-conf": JSON.stringify(spark.sparkConf),
    "--kubernetes-allow": allow.map(({ rule, pattern }) => (pattern === null ? rule : `${rule}=${pattern}`)).join(","),
  };
  const asked = Object.entries(given).flatMap(([flag, value]) => (value === null || value === "" ? [] : [flag, value]));
  return startServer({ flags: [...asked, ...flags], python: "python3" });
};
