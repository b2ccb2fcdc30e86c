import { fileURLToPath } from "node:url";
import { loadConfig } from "../src/config.ts";
import { serve } from "../src/main.ts";
import { openLog } from "../src/observe/log.ts";
import { prepare } from "../src/prepare.ts";

/**
 * The server as `longwick serve` starts it, but with drivers that have no Spark (idle-driver/): the supervisors, their links and the server
 * are the real ones, so that a hundred sessions fit on a small machine.
 */
const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};
const { config } = loadConfig(process.argv.slice(2).filter((argument) => argument !== "serve"));
const prepared = await prepare(config, say);
process.env["IDLE_DRIVER_PYTHON"] = prepared.python;
// No archive can be made there, and none is needed.
const idle = { ...prepared, python: here("idle-driver/python"), java: here("idle-driver/java"), archiveDir: "/proc/longwick-no-archive" };
await serve(config, idle, "0.0.0", openLog(config.logLevel), say);
