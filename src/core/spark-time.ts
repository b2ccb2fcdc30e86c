const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["us", 0.001],
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["min", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

/**
 * Whole milliseconds of a time as Spark writes it: a number and a unit (us, ms, s, m, min, h, d). NaN for what is none.
 * @param bare unit of a number without one
 */
export const sparkTimeMs = (text: string, bare: "ms" | "s"): number => {
  const [, digits, unit = bare] = /^\s*(\d{1,15})\s*([a-z]+)?\s*$/i.exec(text) ?? [];
  const ms = Math.floor(Number(digits) * (UNITS_MS.get(unit.toLowerCase()) ?? Number.NaN));
  return Number.isSafeInteger(ms) ? ms : Number.NaN;
};
