import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
// Checked border: the flag puts the function there.
const collect = runInNewContext("gc") as () => void;

/** What this process holds and cannot let go of, buffers included. */
export const retainedBytes = (): number => {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};
