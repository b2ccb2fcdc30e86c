import { Problem } from "../../core/problems.ts";

export type Conf = Readonly<Record<string, string>>;

/** What a driver's container asks for; memory in MiB. */
export interface DriverResources {
  readonly requests: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<string, string>>;
}

const MIB_PER = { b: 1 / 1024 / 1024, k: 1 / 1024, m: 1, g: 1024, t: 1024 * 1024, p: 1024 * 1024 * 1024 } as const;

/**
 * MiB of a size as Spark writes memory (`2g`, `512m`, `512`: MiB).
 * @throws Problem SPEC_REFUSED
 */
export const memoryMib = (key: string, text: string): number => {
  const [, digits, unit = "m"] = /^\s*(\d+)\s*([bkmgtp])?b?\s*$/i.exec(text) ?? [];
  const mib = Math.ceil(Number(digits) * (new Map<string, number>(Object.entries(MIB_PER)).get(unit.toLowerCase()) ?? Number.NaN));
  if (Number.isSafeInteger(mib) && mib > 0) return mib;
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

const fraction = (key: string, text: string): number => {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= 0) return value;
  throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${key} must be a number not below 0, not '${text}'`);
};

/** Spark's defaults (KubernetesClientUtils, BasicDriverFeatureStep): 40 % for what is not the JVM, since drivers run Python. */
const DEFAULT_HEAP = "1g";
const DEFAULT_OVERHEAD_FACTOR = "0.4";
const DEFAULT_LEAST_OVERHEAD = "384m";

/** Memory of the driver's container: its heap and what Spark reserves for everything else. */
export const driverMemoryMib = (conf: Conf): number => {
  const read = (...keys: readonly string[]) => {
    const key = keys.find((candidate) => conf[candidate] !== undefined);
    return key === undefined ? null : { key, text: conf[key] ?? "" };
  };
  const heap = memoryMib("spark.driver.memory", conf["spark.driver.memory"] ?? DEFAULT_HEAP);
  const overhead = read("spark.driver.memoryOverhead");
  if (overhead !== null) return heap + memoryMib(overhead.key, overhead.text);
  const factor = read("spark.driver.memoryOverheadFactor", "spark.kubernetes.memoryOverheadFactor");
  const least = read("spark.driver.minMemoryOverhead");
  const share = fraction(factor?.key ?? "", factor?.text ?? DEFAULT_OVERHEAD_FACTOR) * heap;
  return heap + Math.max(Math.ceil(share), memoryMib(least?.key ?? "", least?.text ?? DEFAULT_LEAST_OVERHEAD));
};

const DEVICE = /^spark\.driver\.resource\.([^.]+)\.amount$/;

/**
 * What spark-submit would have asked for a driver: cores by `spark.kubernetes.driver.{request,limit}.cores`, memory with its overhead
 * as request and limit, devices by `spark.driver.resource.*`.
 * @throws Problem SPEC_REFUSED
 */
export const driverResources = (conf: Conf): DriverResources => {
  const memory = `${driverMemoryMib(conf)}Mi`;
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
