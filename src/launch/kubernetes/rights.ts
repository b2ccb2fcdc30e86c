/** What an account must be allowed on one kind of object. */
export interface Right {
  /** `server`: the namespace of claims; `sessions`: that of drivers. */
  readonly where: "server" | "sessions";
  /** Its API group; absent: the core one. */
  readonly group?: "batch" | "sparkoperator.k8s.io";
  /** A resource, with its subresource after a slash: `pods/log`. */
  readonly resource: string;
  readonly verbs: readonly string[];
}

/** What the server does: its Roles under docker/kubernetes allow this and nothing else. */
export const SERVER_RIGHTS: readonly Right[] = [
  { where: "server", resource: "configmaps", verbs: ["create", "get", "list", "watch", "patch", "delete"] },
  { where: "server", resource: "secrets", verbs: ["create", "get", "list", "delete"] },
  { where: "sessions", resource: "pods", verbs: ["create", "get", "list", "watch", "delete", "deletecollection"] },
  { where: "sessions", resource: "pods/log", verbs: ["get"] },
  { where: "sessions", resource: "secrets", verbs: ["create", "get", "patch", "delete"] },
  { where: "sessions", resource: "configmaps", verbs: ["create", "get", "patch", "delete"] },
  { where: "sessions", resource: "events", verbs: ["list", "watch"] },
];

/** What schedules need besides, in the same Roles; a server without it has none. */
export const SCHEDULE_RIGHTS: readonly Right[] = [
  { where: "server", group: "batch", resource: "cronjobs", verbs: ["create", "get", "list", "watch", "patch", "delete"] },
  { where: "server", group: "batch", resource: "jobs", verbs: ["get", "list", "watch"] },
  { where: "server", group: "batch", resource: "jobs/status", verbs: ["patch"] },
];

/** What batches as SparkApplications need besides: docker/kubernetes/spark-operator. */
export const SPARK_APPLICATION_RIGHTS: readonly Right[] = [
  { where: "sessions", group: "sparkoperator.k8s.io", resource: "sparkapplications", verbs: ["create", "get", "list", "watch", "delete"] },
];

/** From outside of the cluster; which verb it is depends on the version of Kubernetes. */
export const PORT_FORWARD_RIGHTS: readonly Right[] = [{ where: "sessions", resource: "pods/portforward", verbs: ["get", "create"] }];

/** What Spark in a driver does to have executors. */
export const DRIVER_RIGHTS: readonly Right[] = [
  { where: "sessions", resource: "pods", verbs: ["create", "get", "list", "watch", "patch", "delete", "deletecollection"] },
  { where: "sessions", resource: "configmaps", verbs: ["create", "deletecollection"] },
  { where: "sessions", resource: "persistentvolumeclaims", verbs: ["create", "list", "deletecollection"] },
];
