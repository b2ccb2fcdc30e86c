import type { V1Volume, V1VolumeMount } from "@kubernetes/client-node";
import { Problem } from "../../core/problems.ts";
import type { Conf } from "../../core/spec.ts";

/** One volume as `spark.kubernetes.{driver,executor}.volumes.TYPE.NAME.*` asks for it. */
export interface VolumeWish {
  readonly type: VolumeType;
  readonly name: string;
  readonly mount: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

const VOLUME_TYPES = ["hostPath", "emptyDir", "nfs", "persistentVolumeClaim"] as const;
type VolumeType = (typeof VOLUME_TYPES)[number];

/** What Spark knows of each type, and what it cannot do without (KubernetesVolumeUtils). */
const OPTIONS: Readonly<Record<VolumeType, { readonly needed: readonly string[]; readonly known: readonly string[] }>> = {
  hostPath: { needed: ["path"], known: ["path", "type"] },
  emptyDir: { needed: [], known: ["medium", "sizeLimit"] },
  nfs: { needed: ["path", "server"], known: ["path", "server"] },
  persistentVolumeClaim: { needed: ["claimName"], known: ["claimName", "storageClass", "sizeLimit"] },
};
const MOUNT_KEYS: readonly string[] = ["path", "readOnly", "subPath", "subPathExpr"];

const refuse = (why: string): Problem => new Problem("SPEC_REFUSED", `Rejected, Reason: ${why}`);
const isVolumeType = (type: string): type is VolumeType => (VOLUME_TYPES as readonly string[]).includes(type);

/**
 * The volumes a conf asks for under a prefix (`spark.kubernetes.driver.volumes.`).
 * @throws Problem SPEC_REFUSED for a type, an option or a value that Spark would not take either
 */
export const volumeWishes = (conf: Conf, prefix: string): readonly VolumeWish[] => {
  const found = new Map<string, VolumeWish & { [part in "mount" | "options" | "labels" | "annotations"]: Record<string, string> }>();
  for (const [key, value] of Object.entries(conf)) {
    if (!key.startsWith(prefix)) continue;
    const [, type = "", name = "", part = "", option = ""] =
      /^([^.]+)\.([^.]+)\.(mount|options|label|annotation)\.(.+)$/.exec(key.slice(prefix.length)) ?? [];
    if (!isVolumeType(type)) throw refuse(`${key} names no volume of type ${VOLUME_TYPES.join(", ")}`);
    if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name) || name.startsWith("longwick-"))
      throw refuse(`${key}: '${name}' is no name for a volume here`);
    if (part === "mount" && !MOUNT_KEYS.includes(option)) throw refuse(`${key}: mounts have ${MOUNT_KEYS.join(", ")}`);
    if (part === "options" && !OPTIONS[type].known.includes(option)) throw refuse(`${key}: ${type} has ${OPTIONS[type].known.join(", ")}`);
    const wish = found.get(`${type}.${name}`) ?? { type, name, mount: {}, options: {}, labels: {}, annotations: {} };
    const section = part === "mount" ? wish.mount : part === "options" ? wish.options : part === "label" ? wish.labels : wish.annotations;
    section[option] = value;
    found.set(`${type}.${name}`, wish);
  }
  for (const { type, name, mount, options } of found.values()) {
    const at = `${prefix}${type}.${name}`;
    if (!mount["path"]?.startsWith("/")) throw refuse(`${at}.mount.path must be an absolute path`);
    const missing = OPTIONS[type].needed.find((option) => !options[option]);
    if (missing !== undefined) throw refuse(`${at}.options.${missing} is missing`);
  }
  return [...found.values()];
};

/**
 * Whether Spark would make what executors are to mount: a claim on demand only of a class and a size, and only in this spelling. Else it
 * makes none, tells nobody, and executors wait for ever for a claim that is not there (MountVolumesFeatureStep of Spark 3.5 to 4.3).
 * @throws Problem SPEC_REFUSED
 */
export const checkExecutorVolumes = (conf: Conf): void => {
  const prefix = "spark.kubernetes.executor.volumes.";
  for (const wish of volumeWishes(conf, prefix).filter(isOnDemand)) {
    const at = `${prefix}${wish.type}.${wish.name}.options`;
    if (wish.options["claimName"] !== "OnDemand")
      throw refuse(`${at}.claimName: for executors Spark knows OnDemand in this spelling alone`);
    const missing = ["storageClass", "sizeLimit"].find((option) => !wish.options[option]);
    if (missing !== undefined)
      throw refuse(`${at}.${missing} is missing: Spark makes claims on demand only of a storageClass and a sizeLimit`);
  }
};

/** A claim that is made with its pod and goes with it. */
const isOnDemand = (wish: VolumeWish): boolean =>
  wish.type === "persistentVolumeClaim" && /^ondemand$/i.test(wish.options["claimName"] ?? "");

/** The volume as a pod has it. A claim on demand is an ephemeral one: Kubernetes makes it with the pod and deletes it after. */
export const volumeOf = (wish: VolumeWish): V1Volume => {
  const { name, options, labels, annotations } = wish;
  const option = (key: string): string => options[key] ?? "";
  switch (wish.type) {
    case "hostPath":
      return { name, hostPath: { path: option("path"), ...(options["type"] === undefined ? {} : { type: options["type"] }) } };
    case "emptyDir":
      return { name, emptyDir: { ...options } };
    case "nfs":
      return { name, nfs: { path: option("path"), server: option("server") } };
    case "persistentVolumeClaim":
      if (!isOnDemand(wish)) return { name, persistentVolumeClaim: { claimName: option("claimName") } };
      return {
        name,
        ephemeral: {
          volumeClaimTemplate: {
            metadata: { labels, annotations },
            spec: {
              accessModes: ["ReadWriteOnce"],
              resources: { requests: { storage: options["sizeLimit"] ?? "1Gi" } },
              ...(options["storageClass"] === undefined ? {} : { storageClassName: options["storageClass"] }),
            },
          },
        },
      };
  }
};

export const mountOf = ({ name, mount }: VolumeWish): V1VolumeMount => ({
  name,
  mountPath: mount["path"] ?? "",
  ...(mount["readOnly"] === undefined ? {} : { readOnly: mount["readOnly"] === "true" }),
  ...(mount["subPath"] === undefined ? {} : { subPath: mount["subPath"] }),
  ...(mount["subPathExpr"] === undefined ? {} : { subPathExpr: mount["subPathExpr"] }),
});
