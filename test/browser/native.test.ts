import { join } from "node:path";
import { HeldPython } from "../kit/held-python.ts";
import { installKernel } from "../kit/kernelspec.ts";
import { Lab } from "../kit/lab.ts";
import { processesNaming } from "../kit/processes.ts";
import { until } from "../kit/until.ts";
import { notebookContract } from "./contract.ts";

/** The installed kernel, with a server of its own. */
notebookContract("native", async (directory) => {
  const python = await HeldPython.make();
  python.hold();
  const own = { LONGWICK_PYTHON: python.path, LONGWICK_RUNTIME_DIR: join(directory, "run") };
  const lab = await Lab.start({ directory, env: installKernel(directory, "spark", own) });
  return {
    lab,
    python,
    card: "Spark (Longwick)",
    [Symbol.asyncDispose]: async () => {
      await lab[Symbol.asyncDispose]();
      await until("no process is left", 30_000, () => (processesNaming(directory).length === 0 ? true : undefined));
      python[Symbol.dispose]();
    },
  };
});
