import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { Livy } from "../kit/livy.ts";
import { type Server, startServer } from "../kit/server.ts";

/** Spark's start is what these take. */
const SMALL = { "spark.ui.enabled": "false" };

describe("a batch", () => {
  let applications: Applications;
  let server: Server;
  let livy: Livy;

  beforeAll(async () => {
    applications = await Applications.make();
    server = await startServer({ flags: ["--local-paths", applications.directory] });
    livy = new Livy(server.url);
  });
  afterAll(async () => {
    livy.close();
    await server[Symbol.asyncDispose]();
    await applications[Symbol.asyncDispose]();
  });

  test("runs a Python application with its arguments to its end, and what it wrote stays readable", async () => {
    const file = await applications.python(
      "sum.py",
      `import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print("sum is", spark.range(int(sys.argv[1])).selectExpr("sum(id)").first()[0], sys.argv[2:])
`,
    );
    const made = await livy.createBatch({ file, name: "sum", args: ["10", "--flag", "héllo wörld"] });
    expect(made).toMatchObject({ name: "sum", state: "starting", appId: null });
    const ended = await livy.batchIn("sum", ["success"]);
    expect(ended.longwick).toMatchObject({ reason: "The application has ended.", cause: null, exitCode: 0 });
    expect(ended.longwick.attempts).toMatchObject([{ attempt: 1, state: "success", exitCode: 0 }]);
    const log = await livy.batchLog(made.id);
    expect(log).toContain("sum is 45 ['--flag', 'héllo wörld']");
    expect(log.at(-1)).toBe("Session ended (success): The application has ended.");
  });

  test("runs a JVM application, whose class the request or the jar names", { timeout: 240_000 }, async () => {
    const file = await applications.sparkPi();
    const { id } = await livy.createBatch({ file, className: "longwick.test.SparkPi", args: [3], conf: SMALL });
    await livy.batchIn(id, ["success"]);
    expect(await livy.batchLog(id)).toContainEqual(expect.stringMatching(/^Pi is roughly 3\.\d+/));
    const failing = await livy.createBatch({ file, args: ["0"], conf: SMALL });
    const { longwick } = await livy.batchIn(failing.id, ["dead"]);
    expect(longwick).toMatchObject({ exitCode: 1, cause: "non-zero-exit" });
    expect(longwick.reason).toContain("IllegalArgumentException: no slices, caused by java.lang.RuntimeException: zero was asked for");
  });
});
