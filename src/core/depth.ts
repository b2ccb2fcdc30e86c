import type { RecordFrame } from "../protocol/frames.ts";

/**
 * What is nested deeper than some thousand levels can be read from JSON, but neither be written again nor be walked through: both recur.
 * Newer Pythons write such values.
 */
const DEPTH_LIMIT = 1_000;
const STAND_IN = { "text/plain": "[It is nested too deeply to be shown.]" } as const;

/** The record as it can be passed on: what user code has nested too deeply in it is replaced by words that say so. */
export const passable = (record: RecordFrame): RecordFrame => {
  switch (record.type) {
    // Of these each field is of few levels, as their schemas say.
    case "stream":
    case "log":
    case "started":
    case "progress":
    case "finished":
      return record;
    default: {
      if (!isTooDeep(record)) return record;
      const fields = Object.entries(record).map(([name, value]) => [name, isTooDeep(value) ? standInFor(value) : value]);
      // Checked border: what user code has a say in is a bundle, or a list of anything.
      return Object.fromEntries(fields) as RecordFrame;
    }
  }
};

const standInFor = (value: unknown): object => (Array.isArray(value) ? [] : STAND_IN);

/** Whether a value cannot be walked through or written as JSON any more. */
export const isTooDeep = (value: unknown, levels = DEPTH_LIMIT): boolean =>
  typeof value === "object" && value !== null && (levels === 0 || Object.values(value).some((item) => isTooDeep(item, levels - 1)));
