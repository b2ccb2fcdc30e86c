import type { V1Container, V1EnvVar, V1Pod } from "@kubernetes/client-node";
import type { Claim, LaunchPlan } from "../../core/ports.ts";
import { Problem } from "../../core/problems.ts";
import { redactAddresses, redactArguments, redactValue } from "../../core/redaction.ts";
import type { Application, Conf, SessionSpec } from "../../core/spec.ts";
import { uploadsIn } from "../../core/upload-uri.ts";
import { plain, shownConf, sourced } from "../conf.ts";
import { type SparkLaunch, sparkLaunch } from "../spark.ts";
import { templatesOf } from "./driver.ts";
import { driverName, ID_ANNOTATION, OWNER_ANNOTATION, PART_LABEL, sessionLabels, TAG_LABEL } from "./names.ts";
import {
  DRIVER_CONTAINER,
  EXECUTOR_CONTAINER,
  executorTemplate,
  namespaceOf,
  PATHS,
  PORTS,
  RESTRICTED_CONTAINER,
  restrictedPod,
} from "./pod.ts";
import { driverResources } from "./resources.ts";
import type { PodSettings } from "./settings.ts";
import { shownPod } from "./shown-pod.ts";
import { isTemplateKey, overlay, templateKey } from "./template.ts";
import { checkExecutorVolumes, volumeWishes } from "./volumes.ts";

/** The Spark Operator's API (kubeflow/spark-operator, api/v1beta2). */
export const OPERATOR = {
  group: "sparkoperator.k8s.io",
  version: "sparkoperator.k8s.io/v1beta2",
  resource: "sparkapplications",
  /** On pods that its spark-submit has made. */
  launchedLabel: "sparkoperator.k8s.io/launched-by-spark-operator",
} as const;

/** Whether the Spark Operator is to run it. */
export const isSparkApplication = ({ application }: SessionSpec): boolean => application?.carrier === "spark-application";

/** A path of the API: the SparkApplications of a namespace, or one of them. */
export const applicationsPath = (namespace: string, name = ""): string =>
  `apis/${OPERATOR.version}/namespaces/${namespace}/${OPERATOR.resource}${name === "" ? "" : `/${name}`}`;

/** A pod as an object holds it. */
type PodTemplate = Pick<V1Pod, "metadata" | "spec">;

/** The fields of a SparkApplication that are used here; names and types as in api/v1beta2. */
export interface SparkApplicationObject {
  readonly apiVersion: typeof OPERATOR.version;
  readonly kind: "SparkApplication";
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly type: "Java" | "Python" | "R";
    readonly mode: "cluster";
    readonly sparkVersion: string;
    readonly image: string;
    readonly imagePullPolicy?: string;
    readonly imagePullSecrets?: readonly string[];
    readonly proxyUser?: string;
    readonly mainClass?: string;
    readonly mainApplicationFile: string;
    readonly arguments?: readonly string[];
    readonly sparkConf: Conf;
    readonly deps?: Readonly<Partial<Record<"jars" | "pyFiles" | "files" | "archives" | DepsOfConf, readonly string[]>>>;
    readonly batchSchedulerOptions?: { readonly queue: string };
    readonly restartPolicy: { readonly type: "Never" };
    readonly driver: Role & { readonly serviceAccount: string };
    readonly executor: Role & { readonly instances?: number };
  };
}

interface Role {
  readonly image?: string;
  readonly cores?: number;
  readonly memory?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly template: PodTemplate;
}

/** What is decided of a batch that the Spark Operator is to run. */
export interface ApplicationPlan {
  readonly object: SparkApplicationObject;
  readonly launch: SparkLaunch;
}

/** From what an object is made. */
export interface ApplicationParts {
  readonly claim: Claim;
  /** Conf canonical, templates inline. */
  readonly spec: SessionSpec;
  readonly settings: PodSettings;
}

const refuse = (what: string, why: string): Problem => new Problem("SPEC_REFUSED", `Rejected, Reason: ${what}: ${why}`);

/** Spark finds executors' pods, and this server the driver's, by these. */
const placeConf = (name: string, namespace: string): Conf => ({
  "spark.kubernetes.namespace": namespace,
  "spark.kubernetes.driver.pod.name": name,
  "spark.kubernetes.executor.podNamePrefix": name,
  "spark.driver.port": String(PORTS.driver),
  "spark.driver.blockManager.port": String(PORTS.blockManager),
  // The Service belongs to the driver's pod, and goes with it without the driver having a right to that.
  "spark.kubernetes.driver.service.deleteOnTermination": "false",
});

/** Where neither the batch nor the operator says anything. */
const defaultConf = ({ python }: PodSettings): Conf => ({
  "spark.jars.ivy": `${PATHS.work}/.ivy2`,
  "spark.executorEnv.LC_ALL": "C.UTF-8",
  "spark.pyspark.python": python,
});

/** What the Spark Operator says by arguments of its own. */
const OPERATORS_OWN: ReadonlySet<string> = new Set(["spark.master", "spark.submit.deployMode", "spark.kubernetes.namespace"]);

/** Lists that have a field in the object, which `kubectl describe` and the operator's own tools show. */
const DEPS_OF_CONF = {
  "spark.jars.packages": "packages",
  "spark.jars.repositories": "repositories",
  "spark.jars.excludes": "excludePackages",
} as const;
type DepsOfConf = (typeof DEPS_OF_CONF)[keyof typeof DEPS_OF_CONF];

/**
 * What follows from a batch's claim, spec and settings alone: the same whoever asks.
 * @throws Problem SPEC_REFUSED for what a SparkApplication cannot have
 */
export const planApplication = ({ claim, spec, settings }: ApplicationParts): ApplicationPlan => {
  const { application } = spec;
  if (application === undefined) throw new Error(`claim ${claim.id} is no batch's`);
  const launch = sparkLaunch(claim.id, spec, settings.spark);
  const asked = plain(launch.conf);
  checkSubmittable(spec, launch);
  const name = driverName(settings.instance, claim);
  const namespace = namespaceOf(asked, settings);
  const conf = {
    ...sourced("server", defaultConf(settings)),
    ...Object.fromEntries(Object.entries(launch.conf).filter(([key]) => !isTemplateKey(key))),
    ...sourced("server", { ...placeConf(name, namespace), "spark.submit.deployMode": "cluster" }),
  };
  const lists = {
    jars: launch.jars.map((uri) => inImage("jars", uri)),
    pyFiles: launch.pyFiles.map((uri) => inImage("pyFiles", uri)),
    files: launch.files.map((uri) => elsewhere("files", uri)),
    archives: launch.archives.map((uri) => elsewhere("archives", uri)),
  };
  const labels = { ...sessionLabels(settings.instance, claim.uid, "application"), [TAG_LABEL]: name };
  const object: SparkApplicationObject = {
    apiVersion: OPERATOR.version,
    kind: "SparkApplication",
    metadata: {
      ...{ name, namespace, labels },
      annotations: { [ID_ANNOTATION]: String(claim.id), ...(claim.owner === null ? {} : { [OWNER_ANNOTATION]: claim.owner }) },
    },
    spec: {
      ...imagesOf(asked, settings),
      ...mainOf(application),
      mode: "cluster",
      sparkConf: Object.fromEntries(
        Object.entries(plain(conf)).filter(([key]) => !OPERATORS_OWN.has(key) && !Object.hasOwn(DEPS_OF_CONF, key)),
      ),
      ...depsOf(lists, asked),
      ...(spec.proxyUser === null ? {} : { proxyUser: spec.proxyUser }),
      ...(spec.queue === null ? {} : { batchSchedulerOptions: { queue: spec.queue } }),
      // Attempts are the batch's own, each an object of its own.
      restartPolicy: { type: "Never" },
      driver: driverRole({ claim, spec, settings }, asked, labels),
      executor: executorRole({ claim, spec, settings }, asked, labels),
    },
  };
  return { object, launch: { ...launch, ...lists, conf } };
};

/** A plan as it may be shown to whoever asked for it. */
export const shownApplication = ({ object, launch }: ApplicationPlan): LaunchPlan => {
  const { jars, pyFiles, files, archives, conf } = launch;
  const shownRole = <R extends Role>(role: R): R => ({ ...role, template: shownPod(role.template) });
  const { driver, executor, sparkConf, ...spec } = object.spec;
  const shown = Object.fromEntries(Object.entries(sparkConf).map(([key, value]) => [key, redactValue(key, value)]));
  return {
    ...{ jars, pyFiles, files, archives },
    conf: shownConf(conf),
    workload: {
      namespace: object.metadata.namespace,
      sparkApplication: { ...object, spec: { ...spec, sparkConf: shown, driver: shownRole(driver), executor: shownRole(executor) } },
    },
  };
};

// ── What cannot be had ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Values of these name Secrets, and are none. */
const SECRET_NAME = /^spark\.kubernetes\.((driver|executor)\.(secrets|secretKeyRef)\.|container\.image\.pullSecrets$)/;
/** spark-submit would read what they name from the Spark Operator's own disk. */
const SUBMITTERS_FILES: ReadonlySet<string> = new Set([
  "spark.kerberos.keytab",
  "spark.kerberos.principal",
  "spark.yarn.keytab",
  "spark.yarn.principal",
]);

/** @throws Problem SPEC_REFUSED that says why a SparkApplication cannot be made of it */
const checkSubmittable = (spec: SessionSpec, launch: SparkLaunch): void => {
  const conf = plain(launch.conf);
  const [upload] = uploadsIn(spec);
  if (upload !== undefined)
    throw refuse(
      `upload:/${upload.id}/${upload.name}`,
      "batches here are SparkApplications, whose drivers have no link that uploads are sent over; put the file into object storage or the image",
    );
  for (const [key, value] of Object.entries(conf)) {
    if (SUBMITTERS_FILES.has(key)) throw refuse(key, "the Spark Operator would read it from its own disk; mount it by a pod template");
    if (key !== "spark.app.name" && !isTemplateKey(key) && !SECRET_NAME.test(key) && redactValue(key, value) !== value)
      throw refuse(
        key,
        "its value would be in a SparkApplication for all to read; keep it in a Secret (spark.kubernetes.driver.secretKeyRef.*, .secrets.*)",
      );
  }
  for (const role of ["driver", "executor"] as const)
    if (templatesOf(spec, role).some(holdsSecret))
      throw refuse(templateKey(role), "a secret in its env would be in a SparkApplication for all to read; refer to a Secret there");
  const args = spec.application?.args ?? [];
  if (redactArguments(args).some((argument, index) => argument !== args[index]))
    throw refuse("args", "a secret among them would be in a SparkApplication for all to read; keep it in a Secret");
  const { jars, pyFiles, files, archives } = launch;
  for (const [what, uris] of Object.entries({ file: [spec.application?.file ?? ""], jars, pyFiles, files, archives }))
    if (uris.some((uri) => redactAddresses(uri) !== uri))
      throw refuse(
        what,
        "credentials in its URI would be in a SparkApplication for all to read; have drivers read it as who they are (s3a:)",
      );
  // As for a driver of our own: what Spark would not take is said at once.
  driverResources(conf);
  volumeWishes(conf, "spark.kubernetes.driver.volumes.");
  checkExecutorVolumes(conf);
};

const holdsSecret = ({ spec }: V1Pod): boolean =>
  [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].some(({ env }) =>
    env?.some(({ name, value }) => value !== undefined && redactValue(name, value) !== value),
  );

/** `file:` is the driver's image everywhere here; to a spark-submit elsewhere that is `local:`. */
const inImage = (what: string, uri: string): string => {
  if (!/^file:/i.test(uri)) return uri;
  if (uri.includes("#")) throw refuse(`${what} ${uri}`, "a file of the image cannot be given another name");
  return uri.replace(/^file:(\/\/)?/i, "local://");
};

/** Spark gives nothing of the image to anybody under `local:`, and its `file:` would be the Spark Operator's own. */
const elsewhere = (what: string, uri: string): string => {
  if (/^(file|local):/i.test(uri))
    throw refuse(`${what} ${uri}`, "the Spark Operator's spark-submit has no files of the image; name it at an address (https:, s3a:)");
  return uri;
};

// ── Parts of the object ────────────────────────────────────────────────────────────────────────────────────────────────────────

const mainOf = ({ file, className, args }: Application) => {
  const path = file.replace(/[#?].*$/, "");
  const type: "Java" | "Python" | "R" = className !== null || /\.jar$/i.test(path) ? "Java" : /\.r$/i.test(path) ? "R" : "Python";
  return {
    type,
    ...(className === null ? {} : { mainClass: className }),
    mainApplicationFile: inImage("file", file),
    ...(args.length === 0 ? {} : { arguments: args }),
  };
};

const imagesOf = (conf: Conf, { image, imagePullPolicy, imagePullSecrets }: PodSettings) => {
  const named = conf["spark.kubernetes.container.image"] ?? image;
  const policy = conf["spark.kubernetes.container.image.pullPolicy"] ?? imagePullPolicy;
  const secrets = listed(conf["spark.kubernetes.container.image.pullSecrets"]) ?? imagePullSecrets;
  return {
    image: named,
    sparkVersion: sparkVersionOf(named),
    ...(policy === null ? {} : { imagePullPolicy: policy }),
    ...(secrets.length === 0 ? {} : { imagePullSecrets: secrets }),
  };
};

/** The field must be there; the operator only looks whether it is 3 or later, as all are here. An image's tag most often has it. */
const sparkVersionOf = (image: string): string => /:v?(\d+\.\d+\.\d+)[^/]*$/.exec(image)?.[1] ?? "3.5.0";

const listed = (text: string | undefined): readonly string[] | undefined => text?.split(",").flatMap((item) => item.trim() || []);

const depsOf = (lists: Readonly<Record<string, readonly string[]>>, conf: Conf) => {
  const named = Object.entries(DEPS_OF_CONF).map(([key, field]) => [field, listed(conf[key]) ?? []] as const);
  const deps = Object.fromEntries([...Object.entries(lists), ...named].filter(([, list]) => list.length > 0));
  return Object.keys(deps).length === 0 ? {} : { deps };
};

/** Sizes as the operator's batch schedulers count them; the conf says the same. */
const sizesOf = (role: "driver" | "executor", conf: Conf) => {
  const { [`spark.${role}.cores`]: cores = "", [`spark.${role}.memory`]: memory } = conf;
  return {
    ...(/^[1-9]\d{0,8}$/.test(cores) ? { cores: Number(cores) } : {}),
    ...(memory === undefined ? {} : { memory }),
  };
};

const driverRole = ({ spec, settings }: ApplicationParts, conf: Conf, labels: Readonly<Record<string, string>>) => {
  const pod = [settings.driverTemplate, ...templatesOf(spec, "driver")]
    .filter((layer) => layer !== null)
    .reduce(overlay, safeDriver(settings));
  const image = conf["spark.kubernetes.driver.container.image"] ?? conf["spark.kubernetes.container.image"] ?? imageOf(pod);
  // Without a server nobody else would end it.
  const deadline = spec.ttlMs === 0 ? {} : { activeDeadlineSeconds: Math.ceil(spec.ttlMs / 1_000) };
  return {
    ...(image === undefined ? {} : { image }),
    ...sizesOf("driver", conf),
    labels: { ...labels, [PART_LABEL]: "driver" },
    serviceAccount:
      conf["spark.kubernetes.authenticate.driver.serviceAccountName"] ?? pod.spec?.serviceAccountName ?? settings.serviceAccount,
    template: named(DRIVER_CONTAINER, { ...pod, spec: { containers: [], ...pod.spec, ...deadline } }),
  };
};

const executorRole = ({ spec, settings }: ApplicationParts, conf: Conf, labels: Readonly<Record<string, string>>) => {
  const pod = executorTemplate(settings, templatesOf(spec, "executor"));
  const image = conf["spark.kubernetes.executor.container.image"] ?? conf["spark.kubernetes.container.image"] ?? imageOf(pod);
  const { "spark.executor.instances": instances = "" } = conf;
  return {
    ...(image === undefined ? {} : { image }),
    ...sizesOf("executor", conf),
    ...(/^[1-9]\d{0,8}$/.test(instances) ? { instances: Number(instances) } : {}),
    labels: { ...labels, [PART_LABEL]: "executor" },
    template: named(EXECUTOR_CONTAINER, pod),
  };
};

const imageOf = (pod: V1Pod): string | undefined => pod.spec?.containers[0]?.image;

/** The operator tells Spark that the role's container has this name, whatever a template calls it. */
const named = (name: string, { metadata, spec }: V1Pod): PodTemplate => {
  const [first, ...others]: readonly V1Container[] = spec?.containers ?? [];
  const containers = [{ ...first, name }, ...others];
  return { ...(metadata === undefined ? {} : { metadata }), spec: { ...spec, containers } };
};

/** Under Pod Security "restricted"; it writes what it fetches to where it is, as executors do. */
const safeDriver = (settings: PodSettings): V1Pod => {
  const env: V1EnvVar[] = Object.entries({ HOME: PATHS.work, LC_ALL: "C.UTF-8", PYTHONUTF8: "1", PYTHONUNBUFFERED: "1" }).map(
    ([name, value]) => ({ name, value }),
  );
  return {
    spec: {
      enableServiceLinks: false,
      securityContext: restrictedPod(settings.runAsUser),
      volumes: [{ name: "longwick-work", emptyDir: {} }],
      containers: [
        {
          ...{ name: DRIVER_CONTAINER, env, workingDir: PATHS.work, securityContext: RESTRICTED_CONTAINER },
          volumeMounts: [{ name: "longwick-work", mountPath: PATHS.work }],
          // What it wrote last is why it failed.
          terminationMessagePolicy: "FallbackToLogsOnError",
        },
      ],
    },
  };
};
