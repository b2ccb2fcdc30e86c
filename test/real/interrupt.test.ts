import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Gates } from "../kit/gates.ts";
import { Livy, textOf } from "../kit/livy.ts";
import { type Server, startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

const KEPT = `
import os, sys, time
kept = "still here"
spark.range(5).createOrReplaceTempView("kept_view")
`;
const NEXT = 'print(kept, spark.table("kept_view").count())';

describe("an interrupt", () => {
  let server: Server;
  let livy: Livy;
  let session: number;

  beforeAll(async () => {
    server = await startServer();
    livy = new Livy(server.url);
    session = (await livy.ready()).id;
    await livy.run(session, KEPT);
    await livy.run(session, NEXT);
  }, 120_000);
  afterAll(() => server[Symbol.asyncDispose]());

  /** Cancels a statement and asks for the next one at once. How long both take is for the benchmarks: here is which rungs it took. */
  const cancelAndGoOn = async (statement: number, next = NEXT) => {
    await livy.cancel(session, statement);
    const following = await livy.run(session, next, undefined, 20_000);
    return { following, cancelled: await livy.statement(session, statement), rungs: await rungsOf(statement) };
  };
  const rungsOf = async (statement: number): Promise<readonly string[]> => {
    const { body } = await livy.ask("GET", `/sessions/${session}/statements/${statement}/records`);
    const lines = String(body)
      .split("\n")
      .filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line)).flatMap(({ type, rung }) => (type === "cancelling" ? [rung] : []));
  };

  test.for([
    ["time.sleep(3600)", "time.sleep(3600)"],
    ["a pure Python loop", "while True: pass"],
    ["a loop that catches Exception", "while True:\n    try:\n        time.sleep(0.01)\n    except Exception:\n        pass"],
    ["a read that blocks", "os.read(os.pipe()[0], 1)"],
  ] as const)("of %s: the next statement is answered, with everything still there", async ([, code]) => {
    const { id } = await livy.submit(session, code);
    await livy.running(session, id);
    const { following, cancelled, rungs } = await cancelAndGoOn(id);
    expect(rungs).toEqual(["jobs", "signal"]);
    expect(textOf(following)).toBe("still here 5");
    expect(cancelled.state).toBe("cancelled");
    expect(cancelled.output).toMatchObject({ status: "error", ename: "KeyboardInterrupt" });
  });

  test("of a Spark job: the job is gone from the cluster, the next statement is answered", async () => {
    const { id } = await livy.submit(
      session,
      "sc.parallelize(range(400), 400).map(lambda value: time.sleep(0.5 if value < 2 else 600)).count()",
    );
    await until("the job makes progress", 60_000, async () => ((await livy.statement(session, id)).progress > 0 ? true : undefined));
    // Spark's tracker hears of a job's end after whoever waited for the job.
    const jobless = "while sc.statusTracker().getActiveJobsIds(): time.sleep(0.02)\nprint(kept)";
    const { following, cancelled, rungs } = await cancelAndGoOn(id, jobless);
    expect(rungs).not.toContain("restart");
    expect(textOf(following)).toBe("still here");
    expect(cancelled.state).toBe("cancelled");
  });

  test("of a blocked input(): it ends, although nobody answers", async () => {
    await using link = await server.link(session);
    const typed = { code: "input('name? ')", kind: "pyspark", stdin: true } as const;
    const body = { ...typed, key: "blocked-input", origin: null, stopOnError: false, silent: false };
    const { statement } = await link.request("submit", body, AbortSignal.timeout(10_000));
    await livy.running(session, statement);
    const { following, cancelled, rungs } = await cancelAndGoOn(statement);
    expect(rungs).toEqual(["jobs", "signal"]);
    expect(textOf(following)).toBe("still here 5");
    expect(cancelled.state).toBe("cancelled");
  });

  test("of a statement that waits: it never runs, and the others do", async () => {
    const gates = new Gates(join(server.directory, "gates"));
    const slow = await livy.submit(session, `${gates.python}\nwait("cancelled")`);
    const waiting = await livy.submit(session, "kept = 'lost'");
    const last = await livy.submit(session, NEXT);
    await livy.cancel(session, waiting.id);
    expect((await livy.statement(session, waiting.id)).state).toBe("cancelled");
    gates.open("cancelled");
    expect((await livy.finished(session, slow.id)).state).toBe("available");
    expect(textOf(await livy.finished(session, last.id))).toBe("still here 5");
  });

  test("of the whole session by Livy's own route keeps the session", async () => {
    const { id } = await livy.submit(session, "while True: pass");
    await livy.running(session, id);
    expect(await livy.expect(200, "POST", `/sessions/${session}/interrupt`)).toEqual({ msg: "interrupted" });
    expect((await livy.finished(session, id)).state).toBe("cancelled");
    expect(textOf(await livy.run(session, NEXT))).toBe("still here 5");
  });

  // The last two of this session: its variables do not survive them.
  test("by a restart: the statement that follows it at once runs in the new interpreter", async () => {
    await using link = await server.link(session);
    await link.request("restart", {}, AbortSignal.timeout(10_000));
    expect(textOf(await livy.run(session, "import time; print('kept' in globals(), spark.range(7).count())"))).toBe("False 7");
  });

  test("of a stuck C call: a second one restarts the interpreter, says so, and Spark is still there", async () => {
    // `all` in C over an endless iterator in C: no byte code, no signal check, the GIL is never let go.
    const { id } = await livy.submit(session, "import itertools; kept = 1; all(itertools.repeat(True))");
    await livy.running(session, id);
    await livy.cancel(session, id);
    expect((await livy.statement(session, id)).state).toBe("cancelling");
    // The rule itself: a second one counts when the first is a second old.
    await pause(1_100);
    expect((await livy.statement(session, id)).state).toBe("cancelling");
    const { following, cancelled, rungs } = await cancelAndGoOn(id, "print('kept' in globals(), spark.range(7).count())");
    expect(rungs).toEqual(["jobs", "signal", "restart"]);
    expect(textOf(following)).toBe("False 7");
    expect(cancelled.state).toBe("cancelled");
    expect(textOf(cancelled)).toMatch(/interpreter was restarted/i);
  });
});
