/**
 * `npm test`: everything that needs neither cluster nor browser. vitest's projects unit and real, and the shim's pytest on the newest and on
 * the oldest Python and Spark. `npm run test:browser` (`run.ts browser`): vitest's project browser, in Debian's Chromium. `npm run test:cluster`
 * (`run.ts cluster`): vitest's projects of the cluster, on the Kubernetes that KUBECONFIG names. The last line says how many tests passed and failed,
 * over all runners.
 *
 * A test of the cluster that is skipped has failed, but for those that break a part of it where nobody says how (LONGWICK_TEST_BREAK, a
 * command that takes `stop PART` and `start PART`): they are not for this cluster, and counted apart.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { driverPython, oldestPython } from "./kit/python.ts";

interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SHIM = fileURLToPath(new URL("../python-shim", import.meta.url));
/** No runner may take longer; one that does has failed. */
const RUNNER_MS = 60 * 60_000;
const NOTHING: Count = { passed: 0, failed: 0, skipped: 0 };

const reports = mkdtempSync(join(tmpdir(), "longwick-test-"));

/** Runs one runner to its end and counts what its report says; a runner that fails without a failed test counts as one. */
const count = (name: string, cwd: string, command: string, args: readonly string[], read: () => Count): Count => {
  process.stdout.write(`\n── ${name}\n`);
  const { status, signal, error } = spawnSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"], timeout: RUNNER_MS });
  if (error !== undefined || signal !== null) process.stderr.write(`\n${name}: ${error?.message ?? `ended by ${signal}`}\n`);
  let counted = NOTHING;
  try {
    counted = read();
  } catch (cause) {
    process.stderr.write(`${name} left no report: ${String(cause)}\n`);
  }
  const silent = counted.passed + counted.failed === 0 || (status !== 0 && counted.failed === 0);
  if (silent) process.stderr.write(`\n${name}: ended with ${status ?? signal} and no failed test: counted as one\n`);
  return silent ? { ...counted, failed: counted.failed + 1 } : counted;
};

const vitest = (...projects: readonly string[]): Count => {
  const report = join(reports, `${projects.join("-")}.json`);
  const named = projects.flatMap((project) => ["--project", project]);
  const args = ["run", ...named, "--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  return count(`vitest, ${projects.join(" and ")}`, ROOT, "node_modules/.bin/vitest", args, () => {
    // vitest's own report, in Jest's form.
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = JSON.parse(readFileSync(report, "utf8")) as Record<
      string,
      number
    >;
    return { passed: numPassedTests ?? 0, failed: numFailedTests ?? 0, skipped: (numPendingTests ?? 0) + (numTodoTests ?? 0) };
  });
};

const pytest = (name: string, python: string): Count => {
  const report = join(reports, `${name}.xml`);
  return count(`pytest, ${name} Python and Spark`, SHIM, python, ["-m", "pytest", `--junitxml=${report}`], () => {
    const suite = /<testsuite\b[^>]*>/.exec(readFileSync(report, "utf8"))?.[0] ?? "";
    const number = (attribute: string): number => Number(new RegExp(`\\b${attribute}="(\\d+)"`).exec(suite)?.[1] ?? 0);
    const failed = number("failures") + number("errors");
    return { passed: number("tests") - failed - number("skipped"), failed, skipped: number("skipped") };
  });
};

const everything = async (): Promise<readonly Count[]> => {
  const [newest, oldest] = [await driverPython(), await oldestPython()];
  return [vitest("unit"), pytest("newest", newest), pytest("oldest", oldest), vitest("real")];
};

const cluster = (): readonly Count[] => {
  const { passed, failed, skipped } = vitest("cluster-schedules", "cluster");
  if (process.env["LONGWICK_TEST_BREAK"] === undefined) return [{ passed, failed, skipped }];
  if (skipped > 0) process.stderr.write(`\n${skipped} tests were skipped although this cluster can be broken: counted as failed\n`);
  return [{ passed, failed: failed + skipped, skipped: 0 }];
};

try {
  const part = process.argv[2];
  const ofCluster = part === "cluster";
  const counts = ofCluster ? cluster() : part === "browser" ? [vitest("browser")] : await everything();
  const sum = (key: keyof Count): number => counts.reduce((total, one) => total + one[key], 0);
  process.exitCode = sum("failed") > 0 ? 1 : 0;
  const skipped = sum("skipped") > 0 ? `, ${sum("skipped")} ${ofCluster ? "not for this cluster" : "skipped"}` : "";
  process.stdout.write(`\n${sum("passed")} passed, ${sum("failed")} failed${skipped}\n`);
} finally {
  rmSync(reports, { recursive: true, force: true });
}
