import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { type BatchInfo, Livy } from "../kit/livy.ts";
import { driverPython } from "../kit/python.ts";
import { type Server, startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

const CLI = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));
const OWN_ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("LONGWICK_")));
const TOKEN = "a-token-of-a-test";
const headers = { Authorization: `Bearer ${TOKEN}` };
const SHOWN_MS = 60_000;

/** Writes a numbered line whenever the file in its first argument has grown by one, until that holds a dot; exits with its second argument. */
const NUMBERED = `import sys, time
said = 0
while True:
    with open(sys.argv[1]) as file:
        wanted = file.read()
    while said < len(wanted.rstrip(".")):
        print("line", said, flush=True)
        said += 1
    if wanted.endswith("."):
        sys.exit(int(sys.argv[2]))
    time.sleep(0.05)
`;

/** `longwick submit` as somebody types it. */
class Submit implements AsyncDisposable {
  readonly #child: ChildProcess;
  /** It has ended, and all that it wrote is here. */
  #closed = false;
  stdout = "";
  stderr = "";

  constructor(args: readonly string[], env: Readonly<Record<string, string>>, cwd: string) {
    this.#child = spawn(process.execPath, [CLI, "submit", ...args], { env: { ...OWN_ENVIRONMENT, ...env }, cwd });
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.#child.once("close", () => {
      this.#closed = true;
    });
  }

  interrupt(): void {
    this.#child.kill("SIGINT");
  }

  shows(what: string, stream: "stdout" | "stderr"): Promise<true> {
    return until(`${what} in ${stream}`, SHOWN_MS, () => {
      if (this.#closed && !this[stream].includes(what)) throw new Error(`${this.stdout}\n${this.stderr}`);
      return this[stream].includes(what) ? true : undefined;
    });
  }

  async exitCode(): Promise<number | null> {
    if (!this.#closed) await once(this.#child, "close", { signal: AbortSignal.timeout(SHOWN_MS) });
    return this.#child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "close");
  }
}

describe("longwick submit", { timeout: 240_000 }, () => {
  let applications: Applications;
  let allowed: string;
  let numbered: string;
  let directory: string;
  let server: Server;
  let livy: Livy;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "lw-submit-"));
    applications = await Applications.make();
    allowed = join(applications.directory, "allowed");
    await mkdir(allowed);
    numbered = await applications.python("allowed/numbered.py", NUMBERED);
    const tokens = join(directory, "tokens");
    await writeFile(tokens, `${createHash("sha256").update(TOKEN).digest("hex")} ann\n`);
    await writeFile(join(directory, "token"), `${TOKEN}\n`);
    const flags = ["--tokens", tokens, "--local-paths", allowed, "--upload-dir", join(directory, "uploads")];
    server = await startServer({ flags, headers });
    livy = new Livy(server.url, headers);
  });
  afterAll(async () => {
    livy.close();
    await server[Symbol.asyncDispose]();
    await applications[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  const submit = (...args: readonly string[]) =>
    new Submit(args, { LONGWICK_URL: server.url, LONGWICK_TOKEN_FILE: join(directory, "token") }, applications.directory);
  /** What an application looks at, and how it is told. */
  const told = async (name: string) => {
    const path = join(directory, name);
    const tell = (text: string) => writeFile(path, text, { flag: "a" });
    await tell("");
    return { path, tell };
  };
  const uploads = async () => (await livy.expect<{ total: number }>(200, "GET", "/uploads")).total;

  test("sends files along that the server cannot read, waits for a Spark application's end and leaves no upload", async () => {
    await applications.module("ours.zip", "of_ours.py", "def double(x):\n    return 2 * x\n");
    const { path, tell } = await told("sum");
    await applications.python(
      "sum.py",
      `import os, sys, time
from pyspark.sql import SparkSession
def doubled(x):
    import of_ours
    return of_ours.double(x)
spark = SparkSession.builder.getOrCreate()
while not os.path.getsize(${JSON.stringify(path)}):
    time.sleep(0.05)
print("sum is", spark.sparkContext.parallelize(range(10), 2).map(doubled).sum(), sys.argv[1:], spark.conf.get("spark.of.ours"))
`,
    );
    const conf = ["--conf", "spark.ui.enabled=false", "--conf", "spark.of.ours=a=b"];
    await using run = submit("--wait", "--name", "sum", ...conf, "--py-files", "ours.zip", "sum.py", "--name", "héllo wörld");
    await run.shows("\n", "stdout");
    expect(await uploads()).toBe(2);
    await tell("go");
    expect(await run.exitCode()).toBe(0);
    expect(run.stderr.split("\n")).toContain("sum is 90 ['--name', 'héllo wörld'] a=b");
    expect(run.stdout).toMatch(/^\d+\n$/);
    const batch = await livy.expect<BatchInfo & { longwick: { file: string } }>(200, "GET", `/batches/${run.stdout.trim()}`);
    expect(batch).toMatchObject({ name: "sum", owner: "ann", state: "success", longwick: { file: expect.stringMatching(/^upload:/) } });
    expect(await uploads()).toBe(0);
  });

  test("exits with 1 and the reason when the application fails, and shows every attempt's lines on standard output when asked", async () => {
    const { path, tell } = await told("failing");
    await tell("xx.");
    await using run = submit("--follow", "--retry", "2", "--retry-backoff", "0", "allowed/numbered.py", path, "3");
    const attempt = "line 0\nline 1\nThe application exited with code 3.\n";
    expect([await run.exitCode(), run.stdout]).toEqual([1, attempt + attempt]);
    const [, id = ""] = /^longwick: batch (\d+)\n/.exec(run.stderr) ?? [];
    expect(run.stderr).toMatch(/^longwick: attempt 1 of batch \d+ ended \(dead\): .*3/m);
    expect(run.stderr).toMatch(/^longwick: batch \d+ failed \(dead\): .*3/m);
    // What the server may read where it is, it is not sent.
    expect(await livy.expect(200, "GET", `/batches/${id}`)).toMatchObject({ longwick: { file: `file://${numbered}` } });
  });

  test("goes on when its server dies and comes again, and shows no line twice", async () => {
    const { path, tell } = await told("restarted");
    await using run = submit("--follow", numbered, path, "0");
    await tell("xxx");
    await run.shows("line 2\n", "stdout");
    for (const last of [6, 10]) {
      await server.kill();
      await tell("xxxx");
      await server.restart();
      await run.shows(`line ${last}\n`, "stdout");
    }
    await server.kill();
    await tell("xx.");
    await server.restart();
    const lines = Array.from({ length: 13 }, (_, line) => `line ${line}\n`).join("");
    expect([await run.exitCode(), run.stdout]).toEqual([0, `${lines}The application has ended.\n`]);
  });

  test("leaves the batch alone when it is interrupted, finds it again by its key, and ends it when asked", async () => {
    const { path, tell } = await told("interrupted");
    await tell("x");
    const args = ["--idempotency-key", "nightly-1", numbered, path, "0"];
    await using first = submit("--wait", ...args);
    await first.shows("line 0\n", "stderr");
    first.interrupt();
    expect(await first.exitCode()).toBe(130);
    expect(first.stderr).toContain(`longwick: batch ${first.stdout.trim()} goes on\n`);
    await using again = submit(...args);
    expect([await again.exitCode(), again.stdout]).toEqual([0, first.stdout]);
    expect((await livy.batch(Number(first.stdout))).state).toBe("running");
    await using killing = submit("--wait", "--kill-on-interrupt", ...args);
    await killing.shows("line 0\n", "stderr");
    killing.interrupt();
    expect([await killing.exitCode(), killing.stdout]).toEqual([130, first.stdout]);
    expect((await livy.ask("GET", `/batches/${first.stdout.trim()}`)).status).toBe(404);
  });

  test("is over when somebody else ends the batch", async () => {
    const { path, tell } = await told("deleted");
    await tell("x");
    await using run = submit("--wait", numbered, path, "0");
    await run.shows("line 0\n", "stderr");
    await livy.deleteBatch(Number(run.stdout));
    expect(await run.exitCode()).toBe(1);
    expect(run.stderr).toMatch(/failed \(killed\): it was deleted|somebody has deleted it/);
  });

  test("says what is wrong with what it was told", async () => {
    const said = async (...args: readonly string[]) => {
      await using run = submit(...args);
      return [await run.exitCode(), run.stderr];
    };
    expect(await said("nosuch.py")).toEqual([2, expect.stringContaining("There is no file ")]);
    expect(await said("--nosuch", numbered)).toEqual([2, expect.stringContaining("Unknown flag --nosuch")]);
    expect(await said("--token", "wrong", numbered)).toEqual([1, expect.stringContaining("answered 401")]);
    expect(await said("--preset", "nosuch", "local:///a.py")).toEqual([1, expect.stringMatching(/answered 400: .*nosuch/)]);
    await using serverless = new Submit([numbered], {}, directory);
    expect([await serverless.exitCode(), serverless.stderr]).toEqual([2, expect.stringContaining("needs a server")]);
  });

  test("starts a server for itself when there is none, and leaves nothing of it", async () => {
    const { path, tell } = await told("alone");
    await tell("x.");
    await using run = new Submit(["--follow", numbered, path, "5"], { LONGWICK_PYTHON: await driverPython() }, directory);
    expect([await run.exitCode(), run.stdout]).toEqual([1, "line 0\nThe application exited with code 5.\n"]);
    expect(run.stderr).toMatch(/^longwick: batch 1 failed \(dead\): .*5/m);
  });
});
