/** Seeded randomness for tests: the same seed, the same run. */
export interface Random {
  /** From 0 to below 1. */
  next(): number;
  /** An integer from 0 to below `end`. */
  below(end: number): number;
  pick<Value>(values: readonly Value[]): Value;
}

/** mulberry32: small, fast, good enough to shake a parser. */
export const seeded = (seed: number): Random => {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (end: number) => Math.floor(next() * end);
  const pick = <Value>(values: readonly Value[]): Value => {
    const index = below(values.length);
    if (index >= values.length) throw new RangeError("nothing to pick from");
    // Checked: the index is within the array, whatever its elements are.
    return values[index] as Value;
  };
  return { next, below, pick };
};
