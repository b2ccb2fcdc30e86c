import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { deploy } from "../../kit/deployment.ts";
import { installKernel } from "../../kit/kernelspec.ts";
import { clientsPython } from "../../kit/python.ts";

const CASES = fileURLToPath(new URL("../../real/jupyter/kernel_cases.py", import.meta.url));
const RUN_MS = 400_000;

/** The native kernel outside, its server inside of the cluster. */
test("a notebook's driver and executors are pods of a server in the cluster, and nothing of them is left", {
  timeout: RUN_MS + 240_000,
}, async () => {
  const directory = mkdtempSync(join(tmpdir(), "lw-"));
  await using deployment = await deploy();
  await using way = await deployment.reach();
  const tokenFile = join(directory, "token");
  writeFileSync(tokenFile, `${deployment.token}\n`, { mode: 0o600 });
  const env = installKernel(directory, "inside", {
    LONGWICK_URL: way.url,
    LONGWICK_TOKEN_FILE: tokenFile,
    LONGWICK_RUNTIME_DIR: join(directory, "run"),
  });
  const out = join(directory, "cases.json");
  await promisify(execFile)(await clientsPython(), [CASES, out, "InCluster"], { env: { ...env }, timeout: RUN_MS, maxBuffer: 2 ** 26 });
  // Written by our own script.
  expect(JSON.parse(readFileSync(out, "utf8"))).toEqual({ "InCluster.test_a_notebook_on_pods": null });
  const left = () => deployment.sessionsKubectl("get", "pods,secrets", "--selector=app.kubernetes.io/name", "--output=name");
  await expect.poll(async () => (await left()).trim(), { timeout: 60_000, interval: 500 }).toBe("");
  rmSync(directory, { recursive: true, force: true });
});
