import { setImmediate as nextTurn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
// Checked border: the flag puts the function there.
const collect = runInNewContext("gc") as () => void;

/** What this process holds and cannot let go of, buffers included. */
export const retainedBytes = async (): Promise<number> => {
  // What a collection finds to be free of buffers is given back after it, and seen by the next.
  for (let round = 0; round < 3; round++) {
    collect();
    await nextTurn();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};
