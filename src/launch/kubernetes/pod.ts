import type {
  V1Container,
  V1EnvVar,
  V1Pod,
  V1PodSecurityContext,
  V1SecurityContext,
  V1Volume,
  V1VolumeMount,
} from "@kubernetes/client-node";
import type { Claim } from "../../core/ports.ts";
import type { Conf, SessionSpec } from "../../core/spec.ts";
import { driverName, ID_ANNOTATION, OWNER_ANNOTATION, ROLE_LABEL, SPEC_ANNOTATION, sessionLabels, TAG_LABEL } from "./names.ts";
import { driverResources, wholeSeconds } from "./resources.ts";
import type { PodSettings } from "./settings.ts";
import { overlay } from "./template.ts";
import { mountOf, volumeOf, volumeWishes } from "./volumes.ts";

/** Places in a driver's container. */
export const PATHS = {
  shim: "/opt/longwick/shim.zip",
  program: "/opt/longwick",
  executorTemplate: "/opt/longwick/executor.json",
  secret: "/etc/longwick",
  driverFile: "/etc/longwick/driver.json",
  tlsCertificate: "/etc/longwick/tls.crt",
  tlsKey: "/etc/longwick/tls.key",
  state: "/var/lib/longwick",
  work: "/var/lib/longwick/work",
  local: "/var/data/spark",
} as const;

export const PORTS = { link: 7997, driver: 7078, blockManager: 7079, ui: 4040 } as const;
export const DRIVER_CONTAINER = "spark-kubernetes-driver";
export const EXECUTOR_CONTAINER = "spark-kubernetes-executor";
/** Where a driver's environment has its pod's address. */
export const POD_IP_VARIABLE = "LONGWICK_POD_IP";

/** What every session's objects are made from. */
export interface PodParts {
  readonly claim: Claim;
  readonly settings: PodSettings;
  /** Of the driver: the preset's, the session's own, as far as there are any. */
  readonly templates: readonly V1Pod[];
  /** What the session and the operator ask for, without our defaults. */
  readonly conf: Conf;
}

/** Where the session's objects live. */
export const namespaceOf = (conf: Conf, settings: PodSettings): string => conf["spark.kubernetes.namespace"] ?? settings.namespace;

/** Pod Security "restricted" asks for this of every pod and container. */
export const restrictedPod = (user: number): V1PodSecurityContext => ({
  runAsNonRoot: true,
  runAsUser: user,
  runAsGroup: user,
  fsGroup: user,
  fsGroupChangePolicy: "OnRootMismatch",
  seccompProfile: { type: "RuntimeDefault" },
});
export const RESTRICTED_CONTAINER: V1SecurityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };

/** The values under a prefix of keys: `spark.kubernetes.driver.label.` → label names and values. */
const under = (conf: Conf, prefix: string): Record<string, string> =>
  Object.fromEntries(Object.entries(conf).flatMap(([key, value]) => (key.startsWith(prefix) ? [[key.slice(prefix.length), value]] : [])));

const listed = (text: string | undefined): readonly string[] => (text ?? "").split(",").flatMap((item) => item.trim() || []);

/** The driver's pod as a session gets it: ours, over the conf's wishes, over its templates, over the operator's, over what is safe. */
export const driverPod = (parts: PodParts): V1Pod => {
  const { claim, settings, templates } = parts;
  const layers = [settings.driverTemplate, ...templates, askedPod(parts)].filter((layer) => layer !== null);
  const pod = layers.reduce(overlay, safePod(settings));
  const [container, ...others] = pod.spec?.containers ?? [];
  const name = driverName(settings.instance, claim);
  const conf = parts.conf;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: namespaceOf(conf, settings),
      labels: {
        ...pod.metadata?.labels,
        ...sessionLabels(settings.instance, claim.uid, "driver"),
        [TAG_LABEL]: name,
        [ROLE_LABEL]: "driver",
      },
      annotations: {
        ...pod.metadata?.annotations,
        [ID_ANNOTATION]: String(claim.id),
        ...(claim.owner === null ? {} : { [OWNER_ANNOTATION]: claim.owner }),
        [SPEC_ANNOTATION]: JSON.stringify(shortSpec(claim.spec)),
      },
    },
    spec: {
      ...pod.spec,
      // A supervisor that comes back tells of its statements; an application is run once.
      restartPolicy: claim.spec.application === undefined ? "OnFailure" : "Never",
      containers: [finished(container, parts), ...others],
      volumes: [...(pod.spec?.volumes ?? []), ...ownVolumes(parts, name)],
    },
  };
};

/** An annotation is for people: the configuration, an inline template or a long list is not repeated in it. */
const shortSpec = ({ conf, preset, configuration: _, ...spec }: SessionSpec): object => ({
  ...spec,
  conf: shortConf(conf),
  ...(preset === undefined ? {} : { preset: { name: preset.name, conf: shortConf(preset.conf) } }),
});

const shortConf = (conf: Conf): Conf =>
  Object.fromEntries(Object.entries(conf).map(([key, value]) => [key, value.length > 1024 ? `${value.slice(0, 1024)}…` : value]));

const safePod = (settings: PodSettings): V1Pod => ({
  spec: {
    serviceAccountName: settings.serviceAccount,
    enableServiceLinks: false,
    securityContext: restrictedPod(settings.runAsUser),
    imagePullSecrets: settings.imagePullSecrets.map((name) => ({ name })),
    containers: [
      {
        name: DRIVER_CONTAINER,
        image: settings.image,
        ...(settings.imagePullPolicy === null ? {} : { imagePullPolicy: settings.imagePullPolicy }),
        securityContext: { ...RESTRICTED_CONTAINER, readOnlyRootFilesystem: true },
      },
    ],
  },
});

/** What spark-submit would have made of the conf. */
const askedPod = ({ conf }: PodParts): V1Pod => {
  const image = conf["spark.kubernetes.driver.container.image"] ?? conf["spark.kubernetes.container.image"];
  const pullPolicy = conf["spark.kubernetes.container.image.pullPolicy"];
  const account = conf["spark.kubernetes.authenticate.driver.serviceAccountName"];
  const scheduler = conf["spark.kubernetes.driver.scheduler.name"] ?? conf["spark.kubernetes.scheduler.name"];
  const volumes = volumeWishes(conf, "spark.kubernetes.driver.volumes.");
  const secrets = Object.entries(under(conf, "spark.kubernetes.driver.secrets."));
  const pullSecrets = listed(conf["spark.kubernetes.container.image.pullSecrets"]);
  const escalation =
    conf["spark.kubernetes.driver.securityContext.allowPrivilegeEscalation"] ??
    conf["spark.kubernetes.securityContext.allowPrivilegeEscalation"];
  const grace = conf[GRACE_KEY];
  return {
    metadata: {
      labels: under(conf, "spark.kubernetes.driver.label."),
      annotations: under(conf, "spark.kubernetes.driver.annotation."),
    },
    spec: {
      ...(account === undefined ? {} : { serviceAccountName: account }),
      ...(scheduler === undefined ? {} : { schedulerName: scheduler }),
      ...(grace === undefined ? {} : { terminationGracePeriodSeconds: wholeSeconds(GRACE_KEY, grace) }),
      nodeSelector: { ...under(conf, "spark.kubernetes.node.selector."), ...under(conf, "spark.kubernetes.driver.node.selector.") },
      imagePullSecrets: pullSecrets.map((name) => ({ name })),
      volumes: [
        ...volumes.map(volumeOf),
        ...secrets.map(([name]): V1Volume => ({ name: secretVolume(name), secret: { secretName: name } })),
      ],
      containers: [
        {
          name: DRIVER_CONTAINER,
          ...(image === undefined ? {} : { image }),
          ...(pullPolicy === undefined ? {} : { imagePullPolicy: pullPolicy }),
          ...(escalation === undefined ? {} : { securityContext: { allowPrivilegeEscalation: /^\s*true\s*$/i.test(escalation) } }),
          env: [
            ...Object.entries(under(conf, "spark.kubernetes.driverEnv.")).map(([name, value]): V1EnvVar => ({ name, value })),
            ...Object.entries(under(conf, "spark.kubernetes.driver.secretKeyRef.")).map(([name, reference]): V1EnvVar => {
              const [secret = "", key = ""] = reference.split(":");
              return { name, valueFrom: { secretKeyRef: { name: secret, key } } };
            }),
          ],
          volumeMounts: [
            ...volumes.map(mountOf),
            ...secrets.map(([name, mountPath]): V1VolumeMount => ({ name: secretVolume(name), mountPath, readOnly: true })),
          ],
          resources: driverResources(conf),
        },
      ],
    },
  };
};

const GRACE_KEY = "spark.kubernetes.appKillPodDeletionGracePeriod";

/** Ours needs a Python of the image: one below the directory that it works in comes from an archive, which is not there yet. */
const supervisorPython = (conf: Conf, settings: PodSettings): string => {
  const asked = conf["spark.pyspark.driver.python"] ?? conf["spark.pyspark.python"];
  return asked === undefined || (asked.includes("/") && !asked.startsWith("/")) ? settings.python : asked;
};

const secretVolume = (name: string): string => `${name.slice(0, 56)}-volume`;

/** Names of volumes that Spark takes for its local directories (LocalDirsFeatureStep). */
const LOCAL_VOLUME = "spark-local-dir-";

/** The driver's container with what a supervisor needs, whatever was asked for. */
const finished = (asked: V1Container | undefined, { settings, claim, conf }: PodParts): V1Container => {
  const localDirs = (asked?.volumeMounts ?? []).filter((mount) => mount.name.startsWith(LOCAL_VOLUME)).map((mount) => mount.mountPath);
  const own: V1EnvVar[] = [
    { name: POD_IP_VARIABLE, valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
    { name: "LONGWICK_SESSION", value: claim.uid },
    // Spark's UI alone heeds it here, the driver's address being told: nobody reaches the UI but through the supervisor.
    { name: "SPARK_LOCAL_IP", value: "127.0.0.1" },
    { name: "PYTHONPATH", value: PATHS.shim },
    { name: "PYTHONUTF8", value: "1" },
    { name: "PYTHONUNBUFFERED", value: "1" },
    { name: "LC_ALL", value: "C.UTF-8" },
    { name: "HOME", value: PATHS.work },
    { name: "SPARK_LOCAL_DIRS", value: localDirs.length > 0 ? localDirs.join(",") : PATHS.local },
  ];
  return {
    ...asked,
    name: asked?.name ?? DRIVER_CONTAINER,
    command: [supervisorPython(conf, settings), "-m", "spark_shim", PATHS.driverFile],
    args: [],
    workingDir: PATHS.state,
    // Ours first: what the session asks for may refer to it, and goes before it.
    env: [...own.filter((variable) => asked?.env?.some(({ name: other }) => other === variable.name) !== true), ...(asked?.env ?? [])],
    ports: [
      ...(asked?.ports ?? []),
      { name: "longwick", containerPort: PORTS.link },
      { name: "driver-rpc-port", containerPort: PORTS.driver },
      { name: "blockmanager", containerPort: PORTS.blockManager },
    ],
    volumeMounts: [
      ...(asked?.volumeMounts ?? []),
      { name: "longwick-program", mountPath: PATHS.program, readOnly: true },
      { name: "longwick-secret", mountPath: PATHS.secret, readOnly: true },
      { name: "longwick-state", mountPath: PATHS.state },
      { name: "longwick-tmp", mountPath: "/tmp" },
      ...(localDirs.length > 0 ? [] : [{ name: "longwick-local", mountPath: PATHS.local }]),
    ],
    terminationMessagePolicy: "FallbackToLogsOnError",
  };
};

const ownVolumes = ({ conf }: PodParts, name: string): readonly V1Volume[] => {
  const hasLocal = Object.keys(conf).some((key) => /^spark\.kubernetes\.driver\.volumes\.[^.]+\.spark-local-dir-/.test(key));
  const inMemory = conf["spark.kubernetes.local.dirs.tmpfs"] === "true";
  return [
    { name: "longwick-program", configMap: { name } },
    // Its files belong to root; the container's user reads them by the pod's fsGroup.
    { name: "longwick-secret", secret: { secretName: name, defaultMode: 0o440 } },
    { name: "longwick-state", emptyDir: {} },
    { name: "longwick-tmp", emptyDir: {} },
    ...(hasLocal ? [] : [{ name: "longwick-local", emptyDir: inMemory ? { medium: "Memory" } : {} }]),
  ];
};

/** What executor pods start from; Spark, in the driver, adds the rest. */
export const executorTemplate = (settings: PodSettings, templates: readonly V1Pod[]): V1Pod => {
  const safe: V1Pod = {
    spec: {
      enableServiceLinks: false,
      // Executors ask Kubernetes nothing.
      automountServiceAccountToken: false,
      securityContext: restrictedPod(settings.runAsUser),
      // Executors write what they are sent to where they are; in the image that directory may be another user's or group's.
      volumes: [{ name: "longwick-work", emptyDir: {} }],
      containers: [
        {
          name: EXECUTOR_CONTAINER,
          securityContext: RESTRICTED_CONTAINER,
          workingDir: PATHS.work,
          volumeMounts: [{ name: "longwick-work", mountPath: PATHS.work }],
        },
      ],
    },
  };
  const layers = [settings.executorTemplate, ...templates].filter((layer) => layer !== null);
  return { apiVersion: "v1", kind: "Pod", ...layers.reduce(overlay, safe) };
};
