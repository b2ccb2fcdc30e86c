import type { V1Pod } from "@kubernetes/client-node";
import type { DriverLimits } from "../driver-file.ts";
import type { SparkSettings } from "../spark.ts";
import type { AllowRule } from "./policy.ts";

/** What pods are made from, the same for every session. */
export interface PodSettings extends DriverLimits {
  readonly spark: SparkSettings;
  /** Name of this Longwick among others in the cluster: in labels, and in front of every object's name. */
  readonly instance: string;
  /** Where drivers run unless a session may say otherwise. */
  readonly namespace: string;
  readonly image: string;
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never" | null;
  readonly imagePullSecrets: readonly string[];
  /** The account of driver pods, which makes executor pods. */
  readonly serviceAccount: string;
  /** The user and group that all containers run as. */
  readonly runAsUser: number;
  /** Interpreter of supervisors in the image: a path, or a name on the PATH. */
  readonly python: string;
  /** null: the image's JAVA_HOME, else the one on its PATH. */
  readonly java: string | null;
  /** null: the image's SPARK_HOME, else that of its Python's pyspark package. */
  readonly sparkHome: string | null;
  /** The API server as drivers reach it; null: by the address that Kubernetes tells every container. */
  readonly master: string | null;
  /** What every driver or executor pod starts from; not subject to the rules. */
  readonly driverTemplate: V1Pod | null;
  readonly executorTemplate: V1Pod | null;
  /** What new batches are: pods with a driver of our own, or objects that the Spark Operator carries out. */
  readonly batches: "driver" | "spark-application";
  /** What sessions may ask for besides what is free to all. */
  readonly allow: readonly AllowRule[];
}

/** What the Kubernetes launcher must be told. */
export interface KubernetesSettings extends Omit<PodSettings, "namespace" | "driverTemplate" | "executorTemplate"> {
  /** Where drivers run unless a session may say otherwise; null: the server's own namespace. */
  readonly namespace: string | null;
  /** YAML of the pods that all drivers and executors start from. */
  readonly driverTemplate: string | null;
  readonly executorTemplate: string | null;
  /** null: KUBECONFIG's file, else the one in the home directory, else the pod's own account. */
  readonly kubeconfig: string | null;
  readonly context: string | null;
  /** Where claims and the master key are kept; null: the pod's own namespace or the kubeconfig's. */
  readonly serverNamespace: string | null;
  /** A file with the master key; null: a Secret, made if it is missing. */
  readonly masterKeyFile: string | null;
  /** How drivers are reached; null: by address in the cluster, by port-forward from outside. */
  readonly reach: "address" | "port-forward" | null;
  /** The directory that holds the Python package spark_shim. */
  readonly shimDir: string;
  /** A driver whose container does not run after so long is given up; 0: never. */
  readonly startTimeoutMs: number;
}
