import type { SourcedConf } from "../core/ports.ts";
import { Problem } from "../core/problems.ts";
import { redactValue } from "../core/redaction.ts";
import type { Conf } from "../core/spec.ts";

/** Every value of a conf with who it is from. Layers of these are laid over each other by spreading them. */
export const sourced = (source: string, conf: Conf): SourcedConf =>
  Object.fromEntries(Object.entries(conf).map(([key, value]) => [key, { value, source }]));

/** The values alone, as Spark gets them. */
export const plain = (conf: SourcedConf): Conf => Object.fromEntries(Object.entries(conf).map(([key, { value }]) => [key, value]));

/** As it may be shown, in order of the keys. */
export const shownConf = (conf: SourcedConf): SourcedConf =>
  Object.fromEntries(
    Object.entries(conf)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, { value, source }]) => [key, { value: redactValue(key, value), source }]),
  );

/** Keys that Spark reads under an older name too. */
const CURRENT_NAMES: ReadonlyMap<string, string> = new Map([
  ["spark.yarn.driver.memoryOverhead", "spark.driver.memoryOverhead"],
  ["spark.yarn.executor.memoryOverhead", "spark.executor.memoryOverhead"],
]);

/**
 * The conf with each key in the spelling that Spark reads, so that rules and Spark see the same.
 * @throws Problem SPEC_REFUSED when two spellings of a key disagree
 */
export const canonicalConf = (conf: Conf): Conf => {
  const canonical = new Map<string, string>();
  for (const [key, value] of Object.entries(conf)) {
    const trimmed = key.trim();
    const name = CURRENT_NAMES.get(trimmed) ?? trimmed;
    if (/\p{Cc}/u.test(name)) throw new Problem("SPEC_REFUSED", "Rejected, Reason: A conf key holds control characters.");
    if ((canonical.get(name) ?? value) !== value)
      throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${name} is asked for twice, with different values`);
    canonical.set(name, value);
  }
  return Object.fromEntries(canonical);
};
