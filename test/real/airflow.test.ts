import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { airflowPython } from "../kit/python.ts";
import { startServer } from "../kit/server.ts";

const SCRIPT = fileURLToPath(new URL("./notebooks/drive_airflow.py", import.meta.url));
const SUM = `import sys
from pyspark.sql import SparkSession
print("sum is", SparkSession.builder.getOrCreate().range(int(sys.argv[1])).selectExpr("sum(id)").first()[0])
`;

test("Airflow's operator, sensor, hook and trigger run batches", { timeout: 900_000 }, async () => {
  await using applications = await Applications.make();
  const [good, bad, sleeping] = await Promise.all([
    applications.python("good.py", SUM),
    applications.python("bad.py", "raise ValueError('no such luck')\n"),
    applications.python("sleeping.py", "import time\ntime.sleep(600)\n"),
  ]);
  await using server = await startServer({ flags: ["--local-paths", applications.directory] });
  const env = {
    ...{ PATH: process.env["PATH"] ?? "", HOME: applications.directory, AIRFLOW_HOME: join(applications.directory, "airflow") },
    ...{ AIRFLOW__CORE__LOAD_EXAMPLES: "False", NO_PROXY: "127.0.0.1" },
  };
  const { stdout } = await promisify(execFile)(await airflowPython(), [SCRIPT, server.url, good, bad, sleeping], { env, timeout: 400_000 });
  const told = stdout.split("\n").find((line) => line.startsWith("TOLD "));
  expect(JSON.parse(told?.slice("TOLD ".length) ?? "null")).toEqual({
    operator: { int: true, state: "success", pushed: ["app_id"] },
    sensor: true,
    "tried again": true,
    keys: ["appId", "appInfo", "id", "log", "longwick", "name", "owner", "proxyUser", "state"],
    submitted: "success",
    failing: expect.stringMatching(/^AirflowException: Batch \d+ did not succeed$/),
    refused: expect.stringContaining("Local path /etc/hostname cannot be added to user sessions."),
    deferred: { status: "success", same: true, log: true },
    killed: expect.stringMatching(/Session '\d+' not found/),
    final: ["dead", "error", "killed", "success"],
    known: "starting",
    absent: expect.stringContaining("Session '4711' not found."),
  });
});
