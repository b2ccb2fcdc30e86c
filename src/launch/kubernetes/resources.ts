import { Problem } from "../../core/problems.ts";
import { sparkTimeMs } from "../../core/spark-time.ts";
import type { Conf } from "../../core/spec.ts";

/** What a driver's container asks for; memory in MiB. */
export interface DriverResources {
  readonly requests: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<string, string>>;
}

const MIB_PER = { b: 1 / 1024 / 1024, k: 1 / 1024, m: 1, g: 1024, t: 1024 * 1024, p: 1024 * 1024 * 1024 } as const;

/**
 * MiB of a size as Spark writes memory (`2g`, `512m`, `512`: MiB), not below `least`.
 * @throws Problem SPEC_REFUSED
 */
export const memoryMib = (key: string, text: string, least = 1): number => {
  const [, digits, unit = "m"] = /^\s*(\d+)\s*([bkmgtp])?b?\s*$/i.exec(text) ?? [];
  const mib = Math.ceil(Number(digits) * (new Map<string, number>(Object.entries(MIB_PER)).get(unit.toLowerCase()) ?? Number.NaN));
  if (Number.isSafeInteger(mib) && mib >= least) return mib;
  throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${key} must be a size like 2g or 512m, not '${text}'`);
};

/**
 * A count of cores as Kubernetes writes it (`2`, `0.5`, `500m`).
 * @throws Problem SPEC_REFUSED
 */
export const cores = (key: string, text: string): string => {
  if (/^\d+(\.\d+)?m?$/.test(text.trim())) return text.trim();
  throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${key} must be a number of cores like 2, 0.5 or 500m, not '${text}'`);
};

/**
 * Whole seconds of a time as Spark writes it (`90s`, `2m`, `90`: seconds).
 * @throws Problem SPEC_REFUSED
 */
export const wholeSeconds = (key: string, text: string): number => {
  const seconds = Math.floor(sparkTimeMs(text, "s") / 1_000);
  if (!Number.isNaN(seconds)) return seconds;
  throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${key} must be a time like 90s or 2m, not '${text}'`);
};

const fraction = (key: string, text: string): number => {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= 0) return value;
  throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${key} must be a number not below 0, not '${text}'`);
};

/**
 * Spark's defaults (KubernetesClientUtils, BasicDriverFeatureStep, Config). What is not the driver's JVM gets 40 %, since drivers run
 * Python; for executors Spark itself takes 10 %.
 */
const DEFAULT_HEAP = "1g";
const DEFAULT_OVERHEAD_FACTOR = { driver: "0.4", executor: "0.1" } as const;
const DEFAULT_LEAST_OVERHEAD = "384m";

export type PodRole = keyof typeof DEFAULT_OVERHEAD_FACTOR;

/**
 * Memory of a driver's or an executor's container: its heap and what Spark reserves for everything else.
 * @throws Problem SPEC_REFUSED
 */
export const podMemoryMib = (role: PodRole, conf: Conf): number => {
  const heap = memoryMib(`spark.${role}.memory`, conf[`spark.${role}.memory`] ?? DEFAULT_HEAP);
  const beside = role === "executor" ? executorsBeside(conf) : 0;
  const overhead = conf[`spark.${role}.memoryOverhead`];
  if (overhead !== undefined) return heap + beside + memoryMib(`spark.${role}.memoryOverhead`, overhead, 0);
  const factorKeys = [`spark.${role}.memoryOverheadFactor`, "spark.kubernetes.memoryOverheadFactor"];
  const factorKey = factorKeys.find((key) => conf[key] !== undefined) ?? "";
  const share = Math.ceil(fraction(factorKey, conf[factorKey] ?? DEFAULT_OVERHEAD_FACTOR[role]) * heap);
  const leastKey = `spark.${role}.minMemoryOverhead`;
  return heap + beside + Math.max(share, memoryMib(leastKey, conf[leastKey] ?? DEFAULT_LEAST_OVERHEAD, 0));
};

/** What an executor's container has besides heap and overhead (ResourceProfile.getResourcesForClusterManager). */
const executorsBeside = (conf: Conf): number => {
  const size = (key: string, text = "0") => memoryMib(key, text, 0);
  const { "spark.executor.pyspark.memory": python, "spark.memory.offHeap.enabled": enabled, "spark.memory.offHeap.size": offHeap } = conf;
  // Whatever Spark might take for true; a bare number is bytes there.
  const offHeapText = /^(\s*false\s*)?$/i.test(enabled ?? "") ? "0" : offHeap?.trim().replace(/\d$/, "$&b");
  return size("spark.executor.pyspark.memory", python) + size("spark.memory.offHeap.size", offHeapText);
};

const DEVICE = /^spark\.driver\.resource\.([^.]+)\.amount$/;

/**
 * What spark-submit would have asked for a driver: cores by `spark.kubernetes.driver.{request,limit}.cores`, memory with its overhead
 * as request and limit, devices by `spark.driver.resource.*`.
 * @throws Problem SPEC_REFUSED
 */
export const driverResources = (conf: Conf): DriverResources => {
  const memory = `${podMemoryMib("driver", conf)}Mi`;
  const requestKey =
    conf["spark.kubernetes.driver.request.cores"] === undefined ? "spark.driver.cores" : "spark.kubernetes.driver.request.cores";
  const limitKey = "spark.kubernetes.driver.limit.cores";
  const limit = conf[limitKey];
  const devices: [string, string][] = Object.entries(conf).flatMap(([key, amount]) => {
    const name = DEVICE.exec(key)?.[1];
    if (name === undefined) return [];
    const vendor = conf[`spark.driver.resource.${name}.vendor`];
    if (vendor !== undefined) return [[`${vendor}/${name}`, amount]];
    throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${key} needs spark.driver.resource.${name}.vendor, as nvidia.com`);
  });
  return {
    requests: { cpu: cores(requestKey, conf[requestKey] ?? "1"), memory },
    limits: { memory, ...(limit === undefined ? {} : { cpu: cores(limitKey, limit) }), ...Object.fromEntries(devices) },
  };
};
