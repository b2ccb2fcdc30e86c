import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test, vi } from "vitest";
import type { FakeDriver } from "../../kit/fake-driver.ts";
import { exchange } from "../../kit/http.ts";
import { Service } from "../service.ts";

const finish = (driver: FakeDriver, statement: number, text: string) => {
  driver.emit("started", { statement });
  driver.emit("result", { statement, data: { "text/plain": text }, metadata: {} });
  driver.emit("finished", { statement, outcome: "ok", rung: null });
};

describe("submitting", () => {
  test("answers 201, a path, and the statement with no output yet", async () => {
    await using service = await Service.start();
    const { id } = await service.ready({ name: "alpha", kind: "pyspark" });
    const { status, headers, body } = await service.ask("POST", "/sessions/alpha/statements", { body: { code: "1+1" } });
    expect(status).toBe(201);
    expect(headers["location"]).toBe(`/sessions/${id}/statements/0`);
    expect(body).toEqual({ id: 0, code: "1+1", state: "waiting", output: null, progress: 0, started: 0, completed: 0 });
  });

  test("waits for a session that starts, and queues nothing when the wait runs out", async () => {
    await using service = await Service.start({ startWaitMs: 100 });
    service.launcher.listening = false;
    await service.ask("POST", "/sessions", { body: { kind: "pyspark" } });
    expect(await service.ask("POST", "/sessions/0/statements", { body: { code: "1" } })).toMatchObject({
      ...{ status: 400, body: { msg: "Session is in state starting" } },
    });
    expect(service.launcher.driver(0).requests).toEqual([]);
  });

  test("of a driver that does not answer is refused for now with the reason, which the log has too", async () => {
    await using service = await Service.start({ startWaitMs: 400 });
    const { id, driver } = await service.ready();
    driver.listening = false;
    driver.cut();
    expect(await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "1" } })).toMatchObject({
      status: 503,
      body: {
        msg: expect.stringMatching(/driver cannot be reached\. The driver does not answer and is called again: connect ECONNREFUSED/),
      },
    });
    const { body } = await service.ask("GET", `/sessions/${id}/log`);
    expect((body as { log: string[] }).log.at(-1)).toMatch(/does not answer and is called again/);
    expect(driver.requests.some(({ frame }) => frame === "submit")).toBe(false);
  });

  test("with an Idempotency-Key again answers the same statement and runs nothing twice", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    const headers = { "idempotency-key": "dag-7/try-1" };
    const first = await service.ask("POST", `/sessions/${id}/statements`, { headers, body: { code: "1" } });
    const again = await service.ask("POST", `/sessions/${id}/statements`, { headers, body: { code: "1" } });
    expect(again.body).toEqual(first.body);
    expect(driver.statements.size).toBe(1);
    const bad = await service.ask("POST", `/sessions/${id}/statements`, { headers: { "idempotency-key": "a b" }, body: { code: "1" } });
    expect(bad.status).toBe(400);
  });

  test("tells the driver language, code with plain newlines, and whose it is", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready({ kind: "shared" });
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "a\r\nb\ud800", kind: "python" } });
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code: 5, kind: "sql", nosuch: 1 } });
    const submits = driver.requests.filter(({ frame }) => frame === "submit");
    expect(submits).toMatchObject([
      {
        code: "a\nb\u{FFFD}",
        kind: "pyspark",
        origin: { face: "livy", client: "127.0.0.1" },
        stopOnError: false,
        silent: false,
        stdin: false,
      },
      { code: "5", kind: "sql" },
    ]);
  });

  test.each<[string, object, string]>([
    ["no code", {}, "The body must have code."],
    ["null as code", { code: null }, "code must be text"],
    ["an object as code", { code: {} }, "code must be text"],
    ["an unknown kind", { code: "1", kind: "cobol" }, "Invalid kind: cobol"],
    ["no kind in a shared session", { code: "1" }, "say the statement's kind"],
    ["kind shared", { code: "1", kind: "shared" }, "say the statement's kind"],
    ["a kind that cannot run here", { code: "1", kind: "scala" }, "Kind spark is not available here"],
  ])("%s is a 400 that says so", async (_, body, words) => {
    await using service = await Service.start();
    const { id, driver } = await service.ready({ kind: "shared" });
    const answer = await service.ask("POST", `/sessions/${id}/statements`, { body });
    expect(answer.status).toBe(400);
    expect((answer.body as { msg: string }).msg).toContain(words);
    expect(driver.statements.size).toBe(0);
  });
});

describe("asking for a statement", () => {
  test("is answered as soon as it ends, and at once when it has", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "1+1" } });
    const held = service.ask("GET", `/sessions/${id}/statements/0?wait=30s`);
    finish(driver, 0, "2");
    expect((await held).body).toMatchObject({
      ...{ id: 0, state: "available", progress: 1, output: { status: "ok", execution_count: 0, data: { "text/plain": "2" } } },
    });
    expect((await service.ask("GET", `/sessions/${id}/state`)).body).toEqual({ id, state: "idle" });
  });

  test("is held no longer than it asks, or than the server's default", async () => {
    for (const [holdMs, query, leastMs] of [
      [150, "", 140],
      // Longer than this test may take.
      [60_000, "?wait=0", 0],
      [60_000, "?wait=300ms", 290],
    ] as const) {
      await using service = await Service.start({ livy: { holdMs } });
      const { id } = await service.ready();
      await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "1" } });
      const start = performance.now();
      expect((await service.ask("GET", `/sessions/${id}/statements/0${query}`)).body).toMatchObject({ state: "waiting", output: null });
      expect(performance.now() - start).toBeGreaterThanOrEqual(leastMs);
      expect((await service.ask("GET", `/sessions/${id}/statements/0?wait=soon`)).status).toBe(400);
    }
  });

  test("by a caller who leaves stops waiting and is no fault", async () => {
    await using service = await Service.start();
    const { id } = await service.ready();
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "1" } });
    const { port } = new URL(await service.http.listen({ host: "127.0.0.1", port: 0 }));
    const waits = vi.spyOn(service.sessions.find(String(id), { name: null, remote: null }, "view"), "settled");
    const socket = connect(Number(port), "127.0.0.1").on("error", () => undefined);
    await once(socket, "connect");
    socket.write(`GET /sessions/${id}/statements/0?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await service.until(() => waits.mock.results.length === 1);
    socket.destroy();
    await expect(waits.mock.results[0]?.value).rejects.toThrow(/abort/i);
    expect((await service.ask("GET", `/sessions/${id}/statements/0`)).status).toBe(200);
    expect(service.lines.filter(({ msg }) => msg === "bug")).toEqual([]);
  });

  test.each([
    ["9999", 404, "Statement '9999' not found."],
    ["-1", 404, "Statement '-1' not found."],
    ["abc", 400, 'For input string: "abc"'],
    ["1.5", 400, 'For input string: "1.5"'],
    ["99999999999", 400, 'For input string: "99999999999"'],
  ])("by the id %s answers %i", async (statement, status, msg) => {
    await using service = await Service.start();
    const { id } = await service.ready();
    expect(await service.ask("GET", `/sessions/${id}/statements/${statement}`)).toMatchObject({ status, body: { msg } });
    expect(await service.ask("POST", `/sessions/${id}/statements/${statement}/cancel`)).toMatchObject({ status, body: { msg } });
  });

  test("silent code is nobody's statement", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    driver.emit("queued", { statement: -1, key: "k", code: "1", kind: "pyspark", origin: null, silent: true });
    await service.until(() => service.sessions.find(String(id), { name: null, remote: null }, "view").peek(-1) !== undefined);
    expect((await service.ask("GET", `/sessions/${id}/statements/-1`)).status).toBe(404);
    expect((await service.ask("GET", `/sessions/${id}/statements`)).body).toEqual({ total_statements: 0, statements: [] });
  });
});

test("statements are listed by position, newest first when asked", async () => {
  await using service = await Service.start();
  const { id, driver } = await service.ready();
  for (const code of ["0", "1", "2"]) await service.ask("POST", `/sessions/${id}/statements`, { body: { code } });
  finish(driver, 0, "0");
  const list = async (query: string) => {
    const { total_statements, statements } = (await service.ask("GET", `/sessions/${id}/statements${query}`)).body as {
      total_statements: number;
      statements: { id: number }[];
    };
    return [total_statements, ...statements.map((statement) => statement.id)];
  };
  expect(await list("")).toEqual([3, 0, 1, 2]);
  expect(await list("?from=1&size=1")).toEqual([3, 1]);
  expect(await list("?order=DESC&size=2")).toEqual([3, 2, 1]);
  expect(await list("?order=nosuch&size=1")).toEqual([3, 0]);
  expect(await list("?from=-1")).toEqual([3, 0, 1, 2]);
  expect(await list("?size=-1")).toEqual([3]);
  expect(await list("?from=99999")).toEqual([3]);
  expect((await service.ask("GET", `/sessions/${id}/statements?from=abc`)).body).toEqual({ msg: 'For input string: "abc"' });
});

test("nobody waits for ever for a driver that does not answer", async () => {
  await using service = await Service.start({ startWaitMs: 400, livy: { answerMs: 200 } });
  const { id, driver } = await service.ready();
  for (const code of ["0", "1", "2"]) await service.ask("POST", `/sessions/${id}/statements`, { body: { code } });
  for (const statement of [0, 1]) finish(driver, statement, "x".repeat(3 * 1024 * 1024));
  driver.emit("log", { line: 1_000, lines: ["last"] });
  const session = service.sessions.find(String(id), { name: null, remote: null }, "view");
  await service.until(() => session.peek(0)?.whole === false && session.logTotal === 1_001);
  const late = { status: 503, body: { msg: "The driver did not answer in time." } };
  driver.on("log", () => null);
  expect(await service.ask("GET", `/sessions/${id}/log?from=0`)).toMatchObject(late);
  driver.listening = false;
  driver.cut();
  await service.until(() => session.logTail(1)[0]?.includes("is called again") === true);
  expect(await service.ask("POST", `/sessions/${id}/interrupt`)).toMatchObject(late);
  expect(await service.ask("POST", `/sessions/${id}/statements/2/cancel`)).toMatchObject(late);
  expect(await service.ask("GET", `/sessions/${id}/statements/0`)).toMatchObject(late);
  expect(await service.ask("GET", `/sessions/${id}/statements`)).toMatchObject(late);
});

test("a statement whose output was let go is read back from the driver", async () => {
  await using service = await Service.start();
  const { id, driver } = await service.ready();
  for (const code of ["0", "1", "2"]) {
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code } });
    finish(driver, Number(code), `${code}:`.repeat(1024 * 1024));
  }
  const session = service.sessions.find(String(id), { name: null, remote: null }, "view");
  await service.until(() => session.peek(2)?.state === "available" && session.peek(0)?.whole === false);
  driver.on("read", (request) => {
    const kept = [
      {
        frame: "record",
        seq: request["fromSeq"],
        atMs: 1,
        type: "queued",
        statement: 0,
        key: "k",
        code: "0",
        kind: "pyspark",
        origin: null,
        silent: false,
      },
      {
        frame: "record",
        seq: Number(request["fromSeq"]) + 1,
        atMs: 2,
        type: "result",
        statement: 0,
        data: { "text/plain": "back" },
        metadata: {},
      },
      { frame: "record", seq: Number(request["fromSeq"]) + 2, atMs: 3, type: "finished", statement: 0, outcome: "ok", rung: null },
    ];
    return { result: { records: kept, nextSeq: Number(request["toSeq"]) + 1 } };
  });
  const { statements } = (await service.ask("GET", `/sessions/${id}/statements?size=1`)).body as { statements: unknown[] };
  expect(statements[0]).toMatchObject({ id: 0, code: "0", output: { status: "ok", data: { "text/plain": "back" } } });
});

describe("cancelling", () => {
  test.each([
    ["no body", {}, false],
    ["an empty object", { body: {} }, false],
    ["an empty string of JSON type", { payload: "", headers: { "content-type": "application/json" } }, false],
    ["restart asked for", { body: { restart: true } }, true],
  ])("with %s answers 200 and reaches the driver", async (_, asking, restart) => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "1" } });
    const answer = await service.ask("POST", `/sessions/${id}/statements/0/cancel`, asking);
    expect(answer).toMatchObject({ status: 200, body: { msg: "canceled" } });
    expect(driver.requests.at(-1)).toMatchObject({ frame: "cancel", statement: 0, restart });
  });

  test("is answered once the statement shows it, though its record comes later than the driver's answer", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "1" } });
    driver.on("cancel", ({ statement }) => {
      setTimeout(() => driver.emit("finished", { statement, outcome: "cancelled", rung: "queue" }), 200);
      return { result: { state: "cancelled" } };
    });
    await service.ask("POST", `/sessions/${id}/statements/0/cancel`);
    expect((await service.ask("GET", `/sessions/${id}/statements/0?wait=0`)).body).toMatchObject({ state: "cancelled" });
  });

  test("a cancelled statement has an output", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "1" } });
    driver.emit("finished", { statement: 0, outcome: "cancelled", rung: "queue" });
    expect((await service.ask("GET", `/sessions/${id}/statements/0?wait=5s`)).body).toMatchObject({
      ...{ state: "cancelled", progress: 1, output: { status: "error", ename: "Cancelled" } },
    });
  });
});

describe("completion", () => {
  test("gives names without what stands before them", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    driver.on("complete", () => ({ result: { matches: ["spark.range", "spark.read"], start: 0, end: 8, metadata: {} } }));
    const ask = (body: object) => service.ask("POST", `/sessions/${id}/completion`, { body });
    expect((await ask({ code: "spark.ra", kind: "pyspark", cursor: "8" })).body).toEqual({ candidates: ["range", "read"] });
    await ask({ code: "é😀x" });
    await ask({ code: "ab", cursor: 99 });
    const cursors = driver.requests.filter(({ frame }) => frame === "complete").map((request) => request["cursor"]);
    expect(cursors).toEqual([8, 3, 2]);
    expect((await ask({})).status).toBe(400);
    expect((await ask({ code: "x", kind: "cobol", cursor: 1 })).body).toEqual({ msg: expect.stringMatching(/^Invalid kind: cobol\. /) });
  });
});

describe("files and jobs", () => {
  test("add-file runs in the driver and answers when it is done, or why it is not", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    const adding = service.ask("POST", `/sessions/${id}/add-pyfile`, { body: { uri: 's3a://b/it\'s "x".py' } });
    await service.until(() => driver.statements.size === 1);
    const [statement = 0] = driver.statements.values();
    expect(driver.requests.at(-1)).toMatchObject({
      code: '__import__("pyspark").SparkContext.getOrCreate().addPyFile("s3a://b/it\'s \\"x\\".py")',
      silent: true,
      kind: "pyspark",
    });
    driver.emit("error", { statement, ename: "Py4JJavaError", evalue: "no such file", traceback: [] });
    driver.emit("finished", { statement, outcome: "error", rung: null });
    expect(await adding).toMatchObject({ status: 400, body: { msg: "It could not be added: Py4JJavaError: no such file" } });
  });

  test("a local path outside the allowed directories reaches no driver", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    const { status, body } = await service.ask("POST", `/sessions/${id}/add-file`, { body: { uri: "file:///etc/passwd" } });
    expect([status, body]).toMatchObject([
      400,
      { msg: expect.stringMatching(/^Rejected, Reason: Local path \/etc\/passwd cannot be added to user sessions\. .*`localPaths`/) },
    ]);
    expect(driver.statements.size).toBe(0);
  });

  test.each(["POST submit-job", "POST run-job", "GET jobs/1", "POST jobs/1/cancel"])(
    "%s is refused at once and says what to do",
    async (route) => {
      await using service = await Service.start();
      const { id } = await service.ready();
      const [method = "", path] = route.split(" ");
      const answer = await service.ask(method, `/sessions/${id}/${path}`, {
        payload: "--x\r\nnot json",
        headers: { "content-type": "multipart/form-data" },
      });
      expect(answer.status).toBe(501);
      expect((answer.body as { msg: string }).msg).toMatch(/here/);
      expect((await service.ask(method, `/sessions/99/${path}`)).status).toBe(404);
    },
  );
});

test("64 MiB of code are taken, more is refused with the limit, and so is a larger body", { timeout: 30_000 }, async () => {
  await using service = await Service.start();
  const { id, driver } = await service.ready();
  const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
  const post = (bytes: number) =>
    exchange(url, { method: "POST", path: `/sessions/${id}/statements`, body: `{"code":"${"x".repeat(bytes)}"}` });
  expect((await post(64 * 1024 * 1024)).status).toBe(201);
  expect(String(driver.requests.at(-1)?.["code"]).length).toBe(64 * 1024 * 1024);
  expect((await post(65 * 1024 * 1024)).status).toBe(413);
  expect(await post(80 * 1024 * 1024)).toMatchObject({
    status: 413,
    body: { msg: "The body is larger than 83886080 bytes, the limit here." },
  });
});
