import type { ConfValue, SourcedConf } from "../core/ports.ts";
import { Problem } from "../core/problems.ts";
import type { Conf, PresetLimits } from "../core/spec.ts";
import { plain } from "./conf.ts";
import { cores, memoryMib, type PodRole, podMemoryMib } from "./kubernetes/resources.ts";

/** Keys that a limit on a count is for, each on its own. */
const COUNT_KEYS = {
  driverCores: ["spark.driver.cores", "spark.kubernetes.driver.request.cores", "spark.kubernetes.driver.limit.cores"],
  executorCores: ["spark.executor.cores", "spark.kubernetes.executor.request.cores", "spark.kubernetes.executor.limit.cores"],
  numExecutors: [
    "spark.executor.instances",
    "spark.dynamicAllocation.initialExecutors",
    "spark.dynamicAllocation.minExecutors",
    "spark.dynamicAllocation.maxExecutors",
  ],
} as const satisfies Partial<Record<keyof PresetLimits, readonly string[]>>;

/** Dynamic allocation knows no bound unless it is given one. */
export const limitedConf = ({ numExecutors }: PresetLimits): Conf =>
  numExecutors === 0 ? {} : { "spark.dynamicAllocation.maxExecutors": String(numExecutors) };

/**
 * Whether a session keeps to its preset's limits. A limit on memory is one on the heap, and on what the heap and all beside it (overhead,
 * off-heap, Python) may take together: as much as a session that asks for the limit and for nothing else.
 * @param base what lies beneath the session's own wishes
 * @param conf with them
 * @throws Problem SPEC_REFUSED that names the limit
 */
export const checkLimits = ({ name, limits }: { name: string; limits: PresetLimits }, base: Conf, conf: SourcedConf): void => {
  const over = (what: string, limit: string) =>
    new Problem("SPEC_REFUSED", `Rejected, Reason: ${what} is over preset '${name}' limit of ${limit}`);
  for (const role of ["driver", "executor"] as const) {
    const limit = limits[`${role}Memory`];
    if (limit !== null) checkMemory(role, limit, base, conf, over);
  }
  for (const counted of ["driverCores", "executorCores", "numExecutors"] as const) {
    const limit = limits[counted];
    for (const key of limit === 0 ? [] : COUNT_KEYS[counted]) {
      const asked = conf[key];
      if (asked !== undefined && count(key, asked.value) > limit) throw over(`${askedAs(key, asked)} ${asked.value}`, String(limit));
    }
  }
};

const checkMemory = (role: PodRole, limit: string, base: Conf, conf: SourcedConf, over: (what: string, limit: string) => Problem): void => {
  const key = `spark.${role}.memory`;
  const heap = conf[key];
  if (heap !== undefined && memoryMib(key, heap.value) > memoryMib(key, limit)) throw over(`${askedAs(key, heap)} ${heap.value}`, limit);
  const most = podMemoryMib(role, { ...base, [key]: limit });
  const all = podMemoryMib(role, plain(conf));
  if (all > most) throw over(`${role}Memory with its overhead, ${all}m,`, `${limit} (${most}m with overhead)`);
};

/** As the session's user wrote it. */
const askedAs = (key: string, { source }: ConfValue): string => (source.startsWith("field ") ? source.slice("field ".length) : key);

/** `500m` is half a core. */
const count = (key: string, text: string): number => {
  const written = cores(key, text);
  return written.endsWith("m") ? Number(written.slice(0, -1)) / 1_000 : Number(written);
};
