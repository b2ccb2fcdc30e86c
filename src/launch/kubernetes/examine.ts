import { type Claim, PLANNED } from "../../core/ports.ts";
import { NO_SPEC } from "../../core/spec.ts";
import { describe } from "../files.ts";
import { ApiError, isStatus } from "./api.ts";
import { type DriverCluster, openCluster } from "./cluster.ts";
import { planDriver } from "./driver.ts";
import { namespaceOf } from "./pod.ts";
import { readRefusal } from "./refusals.ts";
import { DRIVER_RIGHTS, PORT_FORWARD_RIGHTS, SCHEDULE_RIGHTS, SERVER_RIGHTS, SPARK_APPLICATION_RIGHTS } from "./rights.ts";
import { lackingRights, otherAccount, ownAccount, type RightPlaces } from "./rights-review.ts";
import type { KubernetesSettings } from "./settings.ts";
import { OPERATOR } from "./spark-application.ts";

/** One thing that was looked at; `mend` says what to do about it. */
export interface ClusterFinding {
  readonly state: "ok" | "note" | "bad";
  readonly what: string;
  readonly mend?: string;
}

/** An API server that does not answer within this is told of as one that does not. */
const ANSWER_MS = 5_000;
const MANIFESTS = "Apply the manifests of docker/kubernetes, or give it the verbs in a Role of your own (docs/kubernetes.md).";

/** Looks at what the launcher needs of its cluster, and makes nothing there; whatever is wrong is a finding, never a rejection. */
export const examineCluster = async (settings: KubernetesSettings): Promise<readonly ClusterFinding[]> => {
  let cluster: DriverCluster;
  try {
    cluster = openCluster(settings);
  } catch (error) {
    return [
      { state: "bad", what: `no cluster can be asked: ${describe(error)}`, mend: "Correct --kubeconfig, KUBECONFIG or --kube-context." },
    ];
  }
  const { api } = cluster;
  try {
    const reached = await reachable(cluster);
    if (reached.state === "bad") return [reached];
    return [
      reached,
      ...(await serverRights(cluster)),
      ...(await driverRights(cluster)),
      await admission(cluster),
      ...(await sparkOperator(cluster)),
    ];
  } finally {
    api.close();
  }
};

const answer = () => AbortSignal.timeout(ANSWER_MS);

const reachable = async ({ api, server, context }: DriverCluster): Promise<ClusterFinding> => {
  const by = context === null ? "by the pod's own account" : `by context ${context}`;
  try {
    const { gitVersion } = await api.get<{ gitVersion: string }>("version", answer());
    return { state: "ok", what: `Kubernetes ${gitVersion} at ${server}, ${by}` };
  } catch (error) {
    const mend = "Look whether kubectl reaches it; if so, name the same file and context with --kubeconfig and --kube-context.";
    return { state: "bad", what: `the API server at ${server} cannot be asked, ${by}: ${describe(error)}`, mend };
  }
};

const placesOf = ({ namespace, pods }: DriverCluster): RightPlaces => ({ server: namespace, sessions: pods.namespace });

const serverRights = async (cluster: DriverCluster): Promise<readonly ClusterFinding[]> => {
  const { api, reach, namespace, pods } = cluster;
  const allowed = ownAccount(api, answer);
  try {
    const rights = [...SERVER_RIGHTS, ...(reach === "port-forward" ? PORT_FORWARD_RIGHTS : [])];
    const lacking = await lackingRights(placesOf(cluster), rights, allowed);
    const schedules = await lackingRights(placesOf(cluster), SCHEDULE_RIGHTS, allowed);
    const off: readonly ClusterFinding[] =
      schedules.length === 0 ? [] : [{ state: "note", what: `there can be no schedules: the server may not ${schedules.join(", ")}` }];
    const where =
      namespace === pods.namespace ? `namespace ${namespace}` : `namespaces ${namespace} (claims) and ${pods.namespace} (drivers)`;
    if (lacking.length === 0) return [{ state: "ok", what: `the server may do all that it needs in ${where}` }, ...off];
    return [{ state: "bad", what: `the server may not ${lacking.join(", ")}`, mend: MANIFESTS }, ...off];
  } catch (error) {
    return [{ state: "note", what: `what the server may do cannot be asked: ${describe(error)}` }];
  }
};

/** Who may ask for others is told what drivers may do; a server in the cluster may not, and need not. */
const driverRights = async (cluster: DriverCluster): Promise<readonly ClusterFinding[]> => {
  const { api, pods } = cluster;
  const account = `${pods.namespace}/${pods.serviceAccount}`;
  const spec = { user: `system:serviceaccount:${account.replace("/", ":")}`, groups: ["system:serviceaccounts", "system:authenticated"] };
  const allowed = otherAccount(api, spec, answer);
  try {
    const lacking = await lackingRights(placesOf(cluster), DRIVER_RIGHTS, allowed);
    if (lacking.length === 0) return [{ state: "ok", what: `drivers, as service account ${account}, may make executors` }];
    return [{ state: "bad", what: `drivers, as service account ${account}, may not ${lacking.join(", ")}`, mend: MANIFESTS }];
  } catch (error) {
    if (isStatus(error, 403)) return [];
    return [{ state: "note", what: `what drivers may do cannot be asked: ${describe(error)}` }];
  }
};

/** Whether batches can be SparkApplications, where they are to be. */
const sparkOperator = async (cluster: DriverCluster): Promise<readonly ClusterFinding[]> => {
  const { api, pods } = cluster;
  if (pods.batches !== "spark-application") return [];
  const crd = `${OPERATOR.resource}.${OPERATOR.group}`;
  try {
    await api.get(`apis/${OPERATOR.version}`, answer());
    const lacking = await lackingRights(placesOf(cluster), SPARK_APPLICATION_RIGHTS, ownAccount(api, answer));
    if (lacking.length === 0) return [{ state: "ok", what: `batches can be made as SparkApplications in namespace ${pods.namespace}` }];
    const mend = "Add the component docker/kubernetes/spark-operator, or give it the verbs in a Role of your own (docs/kubernetes.md).";
    return [{ state: "bad", what: `the server may not ${lacking.join(", ")}`, mend }];
  } catch (error) {
    const missed = isStatus(error, 404);
    const what = missed ? `the cluster has no ${crd} of version v1beta2` : `the Spark Operator's API cannot be asked: ${describe(error)}`;
    return [{ state: "bad", what, mend: "Install the Spark Operator and its CRDs, or set kubernetesBatches to driver." }];
  }
};

/** Sends the pod of a session that asks for nothing, to be admitted and not made. */
const admission = async ({ api, pods }: DriverCluster): Promise<ClusterFinding> => {
  const claim: Claim = { ...PLANNED, owner: null, spec: NO_SPEC, createdMs: 0, notes: [], attempts: [], end: null };
  try {
    const { pod } = planDriver({ claim, spec: NO_SPEC, settings: pods });
    const namespace = namespaceOf({}, pods);
    await api.create(`api/v1/namespaces/${namespace}/pods?dryRun=All`, pod, answer());
    return { state: "ok", what: `a driver's pod with image ${pods.image} would be admitted to namespace ${namespace}` };
  } catch (error) {
    const why = error instanceof ApiError ? readRefusal(error).reason : describe(error);
    return {
      state: "bad",
      what: `no driver can be made: ${why}`,
      mend: "Mend what it names; docs/kubernetes.md has what a namespace of drivers needs.",
    };
  }
};
