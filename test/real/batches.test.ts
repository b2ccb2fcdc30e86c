import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { Livy } from "../kit/livy.ts";
import { lives } from "../kit/processes.ts";
import { oldestPython } from "../kit/python.ts";
import { type Server, startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

/** Spark's start is what these take. */
const SMALL = { "spark.ui.enabled": "false" };
/** Without a Spark of their own. */
const EXITS = "import sys; print('exits with', sys.argv[1]); sys.exit(int(sys.argv[1]))";

/** Fails as often as its second argument says, and leaves a line in its first one at each run. */
const FLAKY = `import sys
with open(sys.argv[1], "a+") as trace:
    trace.write("run\\n")
    trace.seek(0)
    runs = len(trace.readlines())
print("run", runs)
sys.exit(7 if runs <= int(sys.argv[2]) else 0)
`;

describe("a batch", { timeout: 240_000 }, () => {
  let applications: Applications;
  let server: Server;
  let livy: Livy;

  beforeAll(async () => {
    applications = await Applications.make();
    server = await startServer({ flags: ["--local-paths", applications.directory, "--max-sessions-per-user", "12"] });
    livy = new Livy(server.url);
  });
  afterAll(async () => {
    livy.close();
    await server[Symbol.asyncDispose]();
    await applications[Symbol.asyncDispose]();
  });

  test("runs a Python application with its arguments and modules to its end; its log and its UI are there meanwhile, the log after it", async () => {
    const pyFiles = await Promise.all([
      applications.module("of_ours.zip", "of_ours.py", "def double(x):\n    return 2 * x\n"),
      applications.module("wheeled-1.0-py3-none-any.whl", "wheeled/__init__.py", "def add(x):\n    return x + 1\n"),
    ]);
    const stop = join(applications.directory, "stop");
    const file = await applications.python(
      "sum.py",
      `import os, sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
def doubled(x):
    import of_ours, wheeled
    return wheeled.add(of_ours.double(x))
print("sum is", spark.sparkContext.parallelize(range(int(sys.argv[1])), 2).map(doubled).sum(), sys.argv[2:], flush=True)
while not os.path.exists(${JSON.stringify(stop)}):
    time.sleep(0.1)
`,
    );
    const made = await livy.createBatch({ file, name: "sum", pyFiles, args: [10, "--flag", "héllo wörld"] });
    expect(made).toMatchObject({ name: "sum", state: "starting", appId: null });
    const followed = fetch(`${server.url}/batches/${made.id}/driver-log?follow`).then((answer) => answer.text());
    const running = await until("Spark is up and the sum is told", 120_000, async () => {
      const batch = await livy.batchIn(made.id, ["starting", "running"]);
      return batch.appInfo.sparkUiUrl !== null && (await livy.batchLog(made.id)).some((line) => line.startsWith("sum is"))
        ? batch
        : undefined;
    });
    expect(running).toMatchObject({ state: "running", appId: expect.stringMatching(/^local-\d+$/) });
    expect(running.appInfo.sparkUiUrl).toBe(`${server.url}/batches/${made.id}/ui/`);
    // Spark's UI hears of a job later than the application.
    await until("the job is on the UI's page", 60_000, async () => {
      const page = await fetch(`${server.url}/batches/${made.id}/ui/jobs/`);
      expect(page.status).toBe(200);
      return (await page.text()).includes("sum at") ? true : undefined;
    });
    expect(await livy.expect(200, "GET", "/batches/sum/state")).toEqual({ id: made.id, state: "running" });
    expect((await livy.ask("GET", `/sessions/${made.id}`)).status).toBe(404);
    await applications.python("stop", "");
    const ended = await livy.batchIn("sum", ["success"]);
    expect(ended).toMatchObject({ appId: running.appId, appInfo: { sparkUiUrl: null } });
    expect(ended.longwick).toMatchObject({ reason: "The application has ended.", cause: null, exitCode: 0 });
    expect(ended.longwick.attempts).toMatchObject([{ attempt: 1, state: "success", exitCode: 0, appId: running.appId }]);
    const log = await livy.batchLog(made.id);
    expect(log).toContain("sum is 100 ['--flag', 'héllo wörld']");
    expect(log.at(-1)).toBe("Batch ended (success): The application has ended.");
    expect((await followed).trimEnd().split("\n")).toEqual(log);
    // As Airflow reads it: page by page, the last one empty.
    const { total } = await livy.expect<{ total: number }>(200, "GET", `/batches/${made.id}/log?from=0&size=100`);
    expect(total).toBe(log.length);
    expect(await livy.expect(200, "GET", `/batches/${made.id}/log?from=${total}&size=100`)).toEqual({
      id: made.id,
      from: total,
      total,
      log: [],
    });
  });

  test("has a packed virtual environment in its driver and on its executors", async () => {
    const environment = await applications.environment("packed", "WORD = 'from the environment'");
    const file = await applications.python(
      "packed-user.py",
      `import packed, sys
from pyspark.sql import SparkSession
def word(_=None):
    import packed, sys
    return packed.WORD + " in " + sys.prefix.rsplit("/", 1)[-1]
print("told:", word(), SparkSession.builder.getOrCreate().sparkContext.parallelize([0], 1).map(word).collect())
`,
    );
    const conf = { ...SMALL, "spark.pyspark.python": "./environment/bin/python" };
    const { id } = await livy.createBatch({ file, archives: [`${environment}#environment`], conf });
    await livy.batchIn(id, ["success"]);
    const word = "from the environment in environment";
    expect(await livy.batchLog(id)).toContain(`told: ${word} ['${word}']`);
  });

  test("runs a JVM application, whose class the request or the jar names", async () => {
    const file = await applications.sparkPi();
    const { id } = await livy.createBatch({ file, className: "longwick.test.SparkPi", args: [3], conf: SMALL });
    const failing = await livy.createBatch({ file, args: ["0"], conf: SMALL });
    await livy.batchIn(id, ["success"]);
    expect(await livy.batchLog(id)).toContainEqual(expect.stringMatching(/^Pi is roughly 3\.\d+/));
    const { longwick } = await livy.batchIn(failing.id, ["dead"]);
    expect(longwick).toMatchObject({ exitCode: 1, cause: "non-zero-exit" });
    expect(longwick.reason).toContain("IllegalArgumentException: no slices, caused by java.lang.RuntimeException: zero was asked for");
  });

  test("runs SparkPi of Spark's own examples jar", async () => {
    const python = await oldestPython();
    const file = await applications.sparkExamples(python);
    await using older = await startServer({ python, flags: ["--local-paths", applications.directory] });
    const own = new Livy(older.url);
    const { id } = await own.createBatch({ file, className: "org.apache.spark.examples.SparkPi", args: ["3"], conf: SMALL });
    await own.batchIn(id, ["success"]);
    expect(await own.batchLog(id)).toContainEqual(expect.stringMatching(/^Pi is roughly 3\.\d+/));
    own.close();
  });

  test("that fails is dead and says why: its exit code, its last error, a file that is not there, a class that is not", async () => {
    const failing = await applications.python("failing.py", "print('begun')\nraise ValueError('no such luck')\n");
    const exits = await applications.python("exits.py", EXITS);
    const gone = await applications.python("gone.py", "");
    const [error, code, className] = await Promise.all([
      livy.createBatch({ file: failing }),
      livy.createBatch({ file: exits, args: [3] }),
      livy.createBatch({ file: gone, className: "no.such.Class", jars: [] }),
    ]);
    expect((await livy.batchIn(error.id, ["dead"])).longwick).toMatchObject({
      ...{ exitCode: 1, cause: "non-zero-exit" },
      reason: "The application exited with code 1: ValueError: no such luck.",
    });
    expect(await livy.batchLog(error.id)).toEqual(expect.arrayContaining(["begun", "ValueError: no such luck"]));
    expect((await livy.batchIn(code.id, ["dead"])).longwick).toMatchObject({ exitCode: 3, reason: "The application exited with code 3." });
    // spark-submit takes a .py for Python whatever class is named.
    await livy.batchIn(className.id, ["success", "dead"]);
    const refused = await livy.ask("POST", "/batches", { file: join(applications.directory, "nowhere.py") });
    expect([refused.status, refused.body]).toEqual([400, { msg: expect.stringContaining("nowhere.py does not exist") }]);
    const foreign = await livy.ask("POST", "/batches", { file: "/etc/hostname" });
    expect([foreign.status, foreign.body]).toEqual([400, { msg: expect.stringContaining("Local path /etc/hostname cannot be added") }]);
  });

  test("is tried again as its policy says, and tells of each attempt", async () => {
    const file = await applications.python("flaky.py", FLAKY);
    const trace = (name: string) => join(applications.directory, `trace-${name}`);
    const [good, spent, other, plain] = await Promise.all([
      livy.createBatch({ file, args: [trace("good"), 2], retry: { maxAttempts: 4, backoffSeconds: 0 } }),
      livy.createBatch({
        file,
        args: [trace("spent"), 9],
        conf: { "spark.longwick.retry.maxAttempts": "2", "spark.longwick.retry.backoffSeconds": 0 },
      }),
      livy.createBatch({ file, args: [trace("other"), 1], retry: { maxAttempts: 3, backoffSeconds: 0, on: ["driver-lost"] } }),
      livy.createBatch({ file, args: [trace("plain"), 1] }),
    ]);
    const followed = fetch(`${server.url}/batches/${good.id}/driver-log?follow`).then((answer) => answer.text());
    const ended = await livy.batchIn(good.id, ["success"]);
    expect(ended.longwick.attempts).toMatchObject([
      { attempt: 1, state: "dead", cause: "non-zero-exit", exitCode: 7 },
      { attempt: 2, state: "dead", cause: "non-zero-exit", exitCode: 7 },
      { attempt: 3, state: "success", cause: null, exitCode: 0 },
    ]);
    const [first, second] = ended.longwick.attempts;
    expect(second?.startedMs).toBeGreaterThanOrEqual(first?.endedMs ?? Number.NaN);
    const runs = [
      ...["run 1", "Attempt 1 ended (dead): The application exited with code 7."],
      ...["run 2", "Attempt 2 ended (dead): The application exited with code 7."],
      "run 3",
    ];
    expect((await livy.batchLog(good.id)).filter((line) => /^(run|Attempt) /.test(line))).toEqual(runs);
    expect((await followed).split("\n").filter((line) => /^(run|Attempt) /.test(line))).toEqual(runs);
    expect((await livy.batchIn(spent.id, ["dead"])).longwick.attempts).toHaveLength(2);
    expect((await livy.batchIn(other.id, ["dead"])).longwick.attempts).toHaveLength(1);
    expect((await livy.batchIn(plain.id, ["dead"])).longwick.attempts).toHaveLength(1);
    expect(await readFile(trace("spent"), "utf8")).toBe("run\n".repeat(2));
  });

  test("can be ended while it runs and while it waits for its next attempt; nothing of it is left", async () => {
    const sleeps = await applications.python("sleeps.py", "import time\nprint('asleep', flush=True)\ntime.sleep(600)\n");
    const exits = await applications.python("exits.py", EXITS);
    const { id } = await livy.createBatch({ file: sleeps });
    await until("it sleeps", 60_000, async () => ((await livy.batchLog(id)).includes("asleep") ? true : undefined));
    expect(server.driverProcesses(id).some(({ command }) => command.includes("sleeps.py"))).toBe(true);
    const processes = server.driverProcesses(id);
    await livy.deleteBatch(id);
    expect((await livy.ask("GET", `/batches/${id}`)).body).toEqual({ msg: `Session '${id}' not found.` });
    expect(processes.filter(({ pid }) => lives(pid))).toEqual([]);
    const waiting = await livy.createBatch({ file: exits, args: [1], retry: { maxAttempts: 2, backoffSeconds: 600 } });
    await until("its first attempt has failed", 60_000, async () =>
      (await livy.batchIn(waiting.id, ["starting", "running"])).longwick.attempts.length === 2 ? true : undefined,
    );
    await livy.deleteBatch(waiting.id);
    expect((await livy.ask("GET", `/batches/${waiting.id}`)).status).toBe(404);
  });

  test("is one of ten that run at once, within the limits", { timeout: 300_000 }, async () => {
    const go = join(applications.directory, "go-ten");
    // None ends before all have been asked for.
    const file = await applications.python(
      "waits.py",
      `import os, time\nwhile not os.path.exists(${JSON.stringify(go)}): time.sleep(0.1)\n`,
    );
    const before = (await livy.expect<{ total: number }>(200, "GET", "/batches")).total;
    const asked = await Promise.all(
      Array.from({ length: 14 }, (_, index) => livy.ask("POST", "/batches", { file, name: `of-ten-${index}` })),
    );
    const made = asked.filter(({ status }) => status === 201).map(({ body }) => (body as { id: number }).id);
    expect(made).toHaveLength(12);
    expect(asked.filter(({ status }) => status !== 201).map(({ body }) => body)).toEqual(
      Array(2).fill({ msg: "Rejected, too many sessions of this server: the limit per user is 12." }),
    );
    await applications.python("go-ten", "");
    for (const id of made) await livy.batchIn(id, ["success"], 240_000);
    const list = await livy.expect<{ from: number; total: number; sessions: { id: number }[] }>(
      200,
      "GET",
      `/batches?from=${before}&size=5`,
    );
    expect(list).toMatchObject({ from: before, total: before + 12 });
    expect(list.sessions.map(({ id }) => id)).toEqual(made.toSorted((a, b) => a - b).slice(0, 5));
  });
});
