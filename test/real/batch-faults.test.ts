import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { type BatchInfo, ENDED_SESSION, Livy } from "../kit/livy.ts";
import { processesNaming } from "../kit/processes.ts";
import { type Server, startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

/** Leaves a line in its first argument, and another after so many seconds, or once there is a file of the name that is given in their place. */
const TRACED = `import os, sys, time
def leave(word):
    with open(sys.argv[1], "a") as trace:
        trace.write(word + "\\n")
leave("begun")
if sys.argv[2].startswith("/"):
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.05)
else:
    time.sleep(float(sys.argv[2]))
leave("done")
print("done", flush=True)
sys.exit(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
`;

describe("a server that dies", { timeout: 300_000 }, () => {
  let applications: Applications;
  let file: string;
  let server: Server;

  beforeAll(async () => {
    applications = await Applications.make();
    file = await applications.python("traced.py", TRACED);
    server = await startServer({ flags: ["--local-paths", applications.directory] });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await applications[Symbol.asyncDispose]();
  });

  const traceOf = (name: string) => join(applications.directory, `trace-${name}`);
  const gate = (name: string) => {
    const path = join(applications.directory, `go-${name}`);
    return { path, open: () => writeFile(path, "") };
  };
  const linesOf = async (name: string) => (await readFile(traceOf(name), "utf8").catch(() => "")).split("\n").filter((line) => line !== "");

  // Each lands in another step: the claim, the driver's file, the supervisor's start, the application's, its run, its end.
  test.for([0, 3, 10, 20, 40, 80, 160, 400, 1_200, 3_000])("%i ms after a batch was sent has it run once all the same", async (delayMs) => {
    const name = `after-${delayMs}`;
    const keyed = new Livy(server.url, { "Idempotency-Key": name });
    const body = { file, args: [traceOf(name), 1], name };
    const sent = keyed.ask("POST", "/batches", body).catch(() => null);
    await pause(delayMs);
    await server.kill();
    const answer = await sent;
    await server.restart();
    const again = await keyed.createBatch(body);
    if (answer?.status === 201) expect(again.id).toBe((answer.body as BatchInfo).id);
    await keyed.batchIn(again.id, ["success"]);
    expect(await linesOf(name)).toEqual(["begun", "done"]);
    const { sessions } = await keyed.expect<{ sessions: BatchInfo[] }>(200, "GET", "/batches");
    expect(sessions.filter((batch) => batch.name === name)).toHaveLength(1);
    keyed.close();
  });

  test("again and again while one runs, ends and is tried again finds each attempt once", async () => {
    const livy = new Livy(server.url);
    const { id } = await livy.createBatch({ file, args: [traceOf("often"), 2, 5], retry: { maxAttempts: 2, backoffSeconds: 1 } });
    for (let round = 0; round < 6; round += 1) {
      await server.kill();
      await server.restart();
      const { state } = await livy.batch(id);
      expect(["starting", "running", "dead"]).toContain(state);
    }
    const ended = await livy.batchIn(id, ["dead"]);
    expect(ended.longwick.attempts).toMatchObject([
      { exitCode: 5, cause: "non-zero-exit" },
      { exitCode: 5, cause: "non-zero-exit" },
    ]);
    expect(await linesOf("often")).toEqual(["begun", "done", "begun", "done"]);
    livy.close();
  });

  test("finds what ended while there was no server, with its whole log, and keeps it", async () => {
    const livy = new Livy(server.url);
    const go = gate("alone");
    const { id } = await livy.createBatch({ file, args: [traceOf("alone"), go.path] });
    await until("it has begun", 60_000, async () => ((await linesOf("alone")).length > 0 ? true : undefined));
    await server.kill();
    await go.open();
    await until("it has ended", 60_000, () => (processesNaming(traceOf("alone")).length === 0 ? true : undefined));
    await server.restart();
    await livy.batchIn(id, ["success"]);
    const before = await livy.batchLog(id);
    expect(before).toContain("done");
    await server.restart();
    expect(await livy.batchIn(id, ["success"])).toMatchObject({ longwick: { exitCode: 0, reason: "The application has ended." } });
    expect(await livy.batchLog(id)).toEqual(before);
    livy.close();
  });

  test("or a supervisor that does: what it ran is lost, said so, and run anew only if that was asked for", async () => {
    const livy = new Livy(server.url);
    const go = gate("again");
    const lost = await livy.createBatch({ file, args: [traceOf("lost"), gate("lost").path] });
    const again = await livy.createBatch({
      file,
      args: [traceOf("again"), go.path],
      retry: { maxAttempts: 2, backoffSeconds: 0, on: ["driver-lost"] },
    });
    for (const [{ id }, name] of [
      [lost, "lost"],
      [again, "again"],
    ] as const) {
      await until(`${name} has begun`, 60_000, async () => ((await linesOf(name)).length > 0 ? true : undefined));
      await server.killSupervisor(id);
    }
    await go.open();
    const ended = await livy.batchIn(lost.id, ["dead"]);
    expect(ended.longwick).toMatchObject({ cause: "driver-lost", exitCode: null, reason: expect.stringContaining("not run twice") });
    expect(await linesOf("lost")).toEqual(["begun"]);
    expect((await livy.batchIn(again.id, ["success"])).longwick.attempts).toMatchObject([{ cause: "driver-lost" }, { state: "success" }]);
    expect(await linesOf("again")).toEqual(["begun", "begun", "done"]);
    expect(ENDED_SESSION.has((await livy.batch(again.id)).state)).toBe(true);
    livy.close();
  });
});
