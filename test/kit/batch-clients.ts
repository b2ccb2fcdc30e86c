import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "vitest";
import { airflowPython, clientsPython } from "./python.ts";

const run = promisify(execFile);
const script = (name: string): string => fileURLToPath(new URL(`../real/notebooks/${name}`, import.meta.url));

/** Applications that the clients below submit, by name. */
export const APPLICATIONS = {
  "sum.py": `import sys
from pyspark.sql import SparkSession
print("sum is", SparkSession.builder.getOrCreate().range(int(sys.argv[1])).selectExpr("sum(id)").first()[0])
`,
  "plain.py": "import sys\nprint('sum is', sum(range(int(sys.argv[1]))))\n",
  "bad.py": "raise ValueError('no such luck')\n",
  "sleeping.py": "import time\ntime.sleep(600)\n",
} as const;

/** Where a server's drivers read them. */
export type Place = (name: keyof typeof APPLICATIONS) => string;

/** What Airflow's operator, sensor, hook and trigger are answered by a server that refuses the file `refused`. */
export const driveAirflow = async (url: string, at: Place, refused: string): Promise<unknown> => {
  const home = await mkdtemp(join(tmpdir(), "lw-airflow-"));
  const env = {
    ...{ PATH: process.env["PATH"] ?? "", HOME: home, AIRFLOW_HOME: join(home, "airflow") },
    ...{ AIRFLOW__CORE__LOAD_EXAMPLES: "False", NO_PROXY: "127.0.0.1" },
  };
  try {
    const args = [script("drive_airflow.py"), url, at("sum.py"), at("bad.py"), at("sleeping.py"), refused];
    const { stdout } = await run(await airflowPython(), args, { env, timeout: 400_000 });
    const told = stdout.split("\n").find((line) => line.startsWith("TOLD "));
    return JSON.parse(told?.slice("TOLD ".length) ?? "null");
  } finally {
    await rm(home, { recursive: true, force: true });
  }
};

/** What they are to be answered; `refusal` is the server's message on the refused file. */
export const airflowIsTold = (refusal: string): object => ({
  operator: { int: true, state: "success", pushed: ["app_id"] },
  sensor: true,
  "tried again": true,
  keys: ["appId", "appInfo", "id", "log", "longwick", "name", "owner", "proxyUser", "state"],
  submitted: "success",
  failing: expect.stringMatching(/^AirflowException: Batch \d+ did not succeed$/),
  refused: expect.stringContaining(refusal),
  deferred: { status: "success", same: true, log: true },
  killed: expect.stringMatching(/Session '\d+' not found/),
  final: ["dead", "error", "killed", "success"],
  known: "starting",
  absent: expect.stringContaining("Session '4711' not found."),
});

/** What pylivy's batches are answered. */
export const drivePylivyBatches = async (url: string, at: Place): Promise<unknown> => {
  const args = [script("drive_pylivy_batches.py"), url, at("plain.py"), at("bad.py"), at("sleeping.py")];
  const { stdout } = await run(await clientsPython(), args, { timeout: 200_000 });
  return JSON.parse(stdout);
};

/** What they are to be answered. */
export const PYLIVY_IS_TOLD = {
  ...{ begun: true, state: "success", log: ["sum is 45"], page: 3, failing: "dead", killed: 404 },
  listed: [[true, null, "success"]],
};
