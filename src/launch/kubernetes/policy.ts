import type { V1Container, V1Pod, V1Volume } from "@kubernetes/client-node";
import { Problem } from "../../core/problems.ts";
import type { Conf } from "../../core/spec.ts";
import { isReservedLabel } from "./names.ts";
import { type VolumeWish, volumeWishes } from "./volumes.ts";

/** What no session gets unless an operator allows it (design.md §6), each with how a rule for it looks. */
const RULES = {
  namespace: "namespace=NAME",
  serviceAccount: "serviceAccount=NAME",
  image: "image=REPOSITORY/NAME:TAG",
  hostPath: "hostPath=/PATH",
  nfs: "nfs=SERVER:/PATH",
  secret: "secret=NAME",
  configMap: "configMap=NAME",
  volume: "volume=TYPE",
  securityContext: "securityContext",
  priority: "priority=CLASS",
  scheduler: "scheduler=NAME",
  podTemplate: "podTemplate=inline or podTemplate=URI",
} as const;
export type RuleName = keyof typeof RULES;

/** Something an operator allows: all of a rule (`pattern` null), or the values that fit; `*` stands for any text. */
export interface AllowRule {
  readonly rule: RuleName;
  readonly pattern: string | null;
}

/** One thing that a session asks for and that needs a rule; `key` is where it asks. */
interface Wish {
  readonly rule: RuleName;
  readonly value: string;
  readonly key: string;
}

const isRuleName = (name: string): name is RuleName => Object.hasOwn(RULES, name);

/**
 * A rule from the text of a setting: `securityContext`, `image=registry.example/spark:*`.
 * @throws Error that says which rules there are
 */
export const readAllowRule = (text: string): AllowRule => {
  const at = text.indexOf("=");
  const rule = (at === -1 ? text : text.slice(0, at)).trim();
  if (isRuleName(rule)) return { rule, pattern: at === -1 ? null : text.slice(at + 1).trim() };
  throw new Error(
    `'${text}' is no rule; there are ${Object.values(RULES).join(", ")}; without a value they allow all, * stands for any text`,
  );
};

const fits = ({ rule, pattern }: AllowRule, wish: Wish): boolean => {
  if (rule !== wish.rule) return false;
  if (pattern === null) return true;
  const expression = pattern
    .split("*")
    .map((part) => part.replaceAll(/[\\^$.|?+()[\]{}]/g, "\\$&"))
    .join(".*");
  if (rule !== "hostPath" && rule !== "nfs") return new RegExp(`^${expression}$`, "s").test(wish.value);
  // A directory is allowed with all that is in it; `..` leads out of it.
  if (wish.value.split(/[/:]/).includes("..")) return false;
  return new RegExp(`^${expression.replace(/\/$/, "")}(/.*)?$`, "s").test(wish.value);
};

const refuse = (why: string): Problem => new Problem("SPEC_REFUSED", `Rejected, Reason: ${why}`);

const OURS = "the server sets it, so that executors and server find the driver";
const SUBMIT = "it is for spark-submit in cluster mode; here the server makes the driver's pod";

/** Keys, or beginnings of keys (`…*`), that cannot be honoured by a driver in client mode, each with why. */
const IMPOSSIBLE: readonly (readonly [pattern: string, why: string])[] = [
  ["spark.driver.host", OURS],
  ["spark.driver.bindAddress", OURS],
  ["spark.driver.port", OURS],
  ["spark.driver.blockManager.port", OURS],
  ["spark.kubernetes.driver.pod.name", "the server names the pod, so that a launch can be finished by any server"],
  ["spark.kubernetes.executor.podNamePrefix", "the server names the pods after their session"],
  ["spark.kubernetes.driver.pod.featureSteps", SUBMIT],
  ["spark.kubernetes.driver.pod.excludedFeatureSteps", SUBMIT],
  ["spark.kubernetes.driver.service.*", "a driver in client mode has no Service: executors dial the pod's address"],
  ["spark.kubernetes.submission.*", SUBMIT],
  ["spark.kubernetes.driver.master", SUBMIT],
  ["spark.kubernetes.context", "a driver uses its pod's own account"],
  ["spark.kubernetes.authenticate.submission.*", SUBMIT],
  ["spark.kubernetes.authenticate.driver.oauthToken*", "a driver uses its pod's own account"],
  ["spark.kubernetes.authenticate.driver.mounted.*", "a driver uses its pod's own account"],
  ["spark.kubernetes.authenticate.driver.caCertFile", "a driver uses its pod's own account"],
  ["spark.kubernetes.authenticate.driver.client*", "a driver uses its pod's own account"],
  ["spark.kubernetes.hadoop.configMapName", "spark-submit alone mounts it; name the ConfigMap in a pod template"],
  ["spark.kubernetes.kerberos.*", "spark-submit alone mounts what it names; put it into a pod template"],
  ["spark.kubernetes.file.upload.path", "jars, files and archives are served by the driver itself, nothing is uploaded"],
];

/**
 * Whether a driver in client mode, in a pod that the server finds again, can have this conf, whoever asks for it.
 * @throws Problem SPEC_REFUSED that says why not
 */
export const checkPossible = (conf: Conf): void => {
  for (const key of Object.keys(conf)) {
    const found = IMPOSSIBLE.find(([pattern]) => (pattern.endsWith("*") ? key.startsWith(pattern.slice(0, -1)) : key === pattern));
    if (found !== undefined) throw refuse(`${key} cannot be set: ${found[1]}`);
    for (const prefix of LABEL_PREFIXES) {
      const name = key.startsWith(prefix) ? key.slice(prefix.length) : "";
      if (isReservedLabel(name)) throw refuse(`${key} cannot be set: the server finds its pods by ${name}`);
    }
  }
};
const LABEL_PREFIXES = ["driver", "executor"].flatMap((role) => [
  `spark.kubernetes.${role}.label.`,
  `spark.kubernetes.${role}.annotation.`,
]);

/** Keys whose value needs a rule as it is. */
const RULED_KEYS: ReadonlyMap<string, RuleName> = new Map<string, RuleName>(
  Object.entries({
    "spark.kubernetes.namespace": "namespace",
    "spark.kubernetes.authenticate.driver.serviceAccountName": "serviceAccount",
    "spark.kubernetes.authenticate.executor.serviceAccountName": "serviceAccount",
    "spark.kubernetes.container.image": "image",
    "spark.kubernetes.driver.container.image": "image",
    "spark.kubernetes.executor.container.image": "image",
    "spark.kubernetes.scheduler.name": "scheduler",
    "spark.kubernetes.driver.scheduler.name": "scheduler",
    "spark.kubernetes.executor.scheduler.name": "scheduler",
    "spark.kubernetes.executor.hadoopConfigMapName": "configMap",
  } as const),
);
const SECRET_KEY = /^spark\.kubernetes\.(?:driver|executor)\.secrets\.(.+)$/;
/** Since Spark 4.3; `false`, the default, takes nothing. */
const ESCALATION_KEY = /^spark\.kubernetes\.(?:(?:driver|executor)\.)?securityContext\./;
/** Annotations that are a container's security context in older words. */
const SECURITY_ANNOTATION = /^(?:container\.)?(?:apparmor|seccomp)\.security\.(?:alpha|beta)\.kubernetes\.io\//;
const ANNOTATION_KEY = /^spark\.kubernetes\.(?:driver|executor)\.annotation\.(.+)$/;
const SECRET_REF_KEY = /^spark\.kubernetes\.(?:driver|executor)\.secretKeyRef\.(.+)$/;

const volumeWish = (wish: VolumeWish, key: string): readonly Wish[] => {
  if (wish.type === "hostPath") return [{ rule: "hostPath", value: wish.options["path"] ?? "", key }];
  if (wish.type === "nfs") return [{ rule: "nfs", value: `${wish.options["server"]}:${wish.options["path"]}`, key }];
  return [];
};

const confWishes = (conf: Conf): readonly Wish[] => {
  const wishes: Wish[] = [];
  for (const [key, value] of Object.entries(conf)) {
    const rule = RULED_KEYS.get(key);
    if (rule !== undefined) wishes.push({ rule, value, key });
    const secret = SECRET_KEY.exec(key)?.[1];
    if (secret !== undefined) wishes.push({ rule: "secret", value: secret, key });
    if (ESCALATION_KEY.test(key) && !/^\s*false\s*$/i.test(value)) wishes.push({ rule: "securityContext", value, key });
    if (SECURITY_ANNOTATION.test(ANNOTATION_KEY.exec(key)?.[1] ?? "")) wishes.push({ rule: "securityContext", value, key });
    if (SECRET_REF_KEY.test(key)) wishes.push({ rule: "secret", value: value.split(":")[0] ?? "", key });
    if (key === "spark.kubernetes.container.image.pullSecrets")
      for (const name of value.split(",")) wishes.push({ rule: "secret", value: name.trim(), key });
  }
  for (const role of ["driver", "executor"]) {
    const prefix = `spark.kubernetes.${role}.volumes.`;
    for (const wish of volumeWishes(conf, prefix)) wishes.push(...volumeWish(wish, `${prefix}${wish.type}.${wish.name}`));
  }
  return wishes;
};

// ── Pod templates: what they ask for is asked for in the same words ────────────────────────────────────────────────────────────

const templateVolumeWishes = (volume: V1Volume, key: string): readonly Wish[] => {
  const { name, hostPath, nfs, secret, configMap, projected, ...rest } = volume;
  const wishes: Wish[] = [];
  if (hostPath) wishes.push({ rule: "hostPath", value: hostPath.path, key });
  if (nfs) wishes.push({ rule: "nfs", value: `${nfs.server}:${nfs.path}`, key });
  if (secret) wishes.push({ rule: "secret", value: secret.secretName ?? "", key });
  if (configMap) wishes.push({ rule: "configMap", value: configMap.name ?? "", key });
  for (const source of projected?.sources ?? []) {
    if (source.secret) wishes.push({ rule: "secret", value: source.secret.name ?? "", key });
    else if (source.configMap) wishes.push({ rule: "configMap", value: source.configMap.name ?? "", key });
    else if (!source.downwardAPI) wishes.push({ rule: "volume", value: "projected", key });
  }
  const free = new Set(["emptyDir", "persistentVolumeClaim", "ephemeral", "downwardAPI"]);
  for (const type of Object.keys(rest)) if (!free.has(type)) wishes.push({ rule: "volume", value: type, key });
  return wishes;
};

/** Parts of a container that are free, or looked at one by one; all others need `securityContext`. */
const KNOWN_CONTAINER: ReadonlySet<string> = new Set([
  "name",
  "image",
  "imagePullPolicy",
  "command",
  "args",
  "workingDir",
  "env",
  "envFrom",
  "ports",
  "resources",
  "resizePolicy",
  "volumeMounts",
  "volumeDevices",
  "livenessProbe",
  "readinessProbe",
  "startupProbe",
  "lifecycle",
  "restartPolicy",
  "restartPolicyRules",
  "terminationMessagePath",
  "terminationMessagePolicy",
  "stdin",
  "stdinOnce",
  "tty",
]);

/** Whether the kubelet is to call another host than the pod, from the node's own network (Pod Security, "host probes"). */
const callsOut = ({ livenessProbe, readinessProbe, startupProbe, lifecycle }: V1Container): boolean =>
  [livenessProbe, readinessProbe, startupProbe, lifecycle?.postStart, lifecycle?.preStop].some(
    (call) => Boolean(call?.httpGet?.host) || Boolean(call?.tcpSocket?.host),
  );

const containerWishes = (container: V1Container, key: string, ours: boolean): readonly Wish[] => {
  const wishes: Wish[] = [];
  // What the template says of our own container's image is a wish like the conf's; another container has none but its own.
  if (container.image !== undefined) wishes.push({ rule: "image", value: container.image, key });
  if (!ours && container.image === undefined) throw refuse(`${key} has a container without an image`);
  if (
    callsOut(container) ||
    Object.keys(container).some((name) => !KNOWN_CONTAINER.has(name)) ||
    container.ports?.some((port) => port.hostPort !== undefined || port.hostIP !== undefined)
  )
    wishes.push({ rule: "securityContext", value: container.name, key });
  if (container.volumeDevices !== undefined) wishes.push({ rule: "volume", value: "block", key });
  for (const { valueFrom } of container.env ?? []) {
    if (valueFrom?.secretKeyRef) wishes.push({ rule: "secret", value: valueFrom.secretKeyRef.name ?? "", key });
    if (valueFrom?.configMapKeyRef) wishes.push({ rule: "configMap", value: valueFrom.configMapKeyRef.name ?? "", key });
  }
  for (const { secretRef, configMapRef } of container.envFrom ?? []) {
    if (secretRef) wishes.push({ rule: "secret", value: secretRef.name ?? "", key });
    if (configMapRef) wishes.push({ rule: "configMap", value: configMapRef.name ?? "", key });
  }
  return wishes;
};

/** Parts of a pod's spec that are free; all others that are not looked at one by one need `securityContext`. */
const FREE_SPEC: ReadonlySet<string> = new Set([
  "nodeSelector",
  "tolerations",
  "affinity",
  "topologySpreadConstraints",
  "terminationGracePeriodSeconds",
  "dnsConfig",
  "dnsPolicy",
  "hostAliases",
  "readinessGates",
  "enableServiceLinks",
  "restartPolicy",
  "preemptionPolicy",
]);

const templateWishes = (template: V1Pod, key: string): readonly Wish[] => {
  const { spec, metadata } = template;
  const wishes: Wish[] = [];
  for (const name of [...Object.keys(metadata?.labels ?? {}), ...Object.keys(metadata?.annotations ?? {})]) {
    if (isReservedLabel(name)) throw refuse(`${key} cannot set ${name}: the server finds its pods by it`);
    if (SECURITY_ANNOTATION.test(name)) wishes.push({ rule: "securityContext", value: name, key });
  }
  const { containers = [], initContainers = [], volumes = [], imagePullSecrets = [], ...rest } = spec ?? { containers: [] };
  const { serviceAccountName, serviceAccount, priorityClassName, schedulerName, nodeName, ...more } = rest;
  for (const account of [serviceAccountName, serviceAccount])
    if (account !== undefined) wishes.push({ rule: "serviceAccount", value: account, key });
  if (priorityClassName !== undefined) wishes.push({ rule: "priority", value: priorityClassName, key });
  for (const scheduler of [schedulerName, nodeName]) if (scheduler !== undefined) wishes.push({ rule: "scheduler", value: scheduler, key });
  for (const { name = "" } of imagePullSecrets) wishes.push({ rule: "secret", value: name, key });
  containers.forEach((container, index) => {
    wishes.push(...containerWishes(container, key, index === 0));
  });
  for (const container of initContainers) wishes.push(...containerWishes(container, key, false));
  for (const volume of volumes) wishes.push(...templateVolumeWishes(volume, key));
  for (const name of Object.keys(more)) if (!FREE_SPEC.has(name)) wishes.push({ rule: "securityContext", value: name, key });
  return wishes;
};

/** A session's pod templates as objects, with how they were given: `inline` or a URI. */
export interface SessionTemplate {
  readonly key: string;
  readonly source: string;
  readonly pod: V1Pod;
}

/**
 * Whether a session may have what its canonical conf and its templates ask for. What needs no rule is free: sizes, env, labels,
 * annotations, emptyDir, PVC and ephemeral volumes, selectors, tolerations.
 * @throws Problem SPEC_REFUSED that names the rule
 */
export const checkPolicy = (conf: Conf, templates: readonly SessionTemplate[], allow: readonly AllowRule[]): void => {
  checkPossible(conf);
  const wishes = [
    ...confWishes(conf),
    ...templates.flatMap(({ key, source, pod }): readonly Wish[] => [
      { rule: "podTemplate", value: source, key },
      ...templateWishes(pod, key),
    ]),
  ];
  const refused = wishes.find((wish) => !allow.some((rule) => fits(rule, wish)));
  if (refused === undefined) return;
  const { rule, value, key } = refused;
  throw refuse(`${key}: ${value === "" ? "this" : `'${value}'`} is not allowed by any rule '${rule}' (${RULES[rule]}) of this server`);
};
