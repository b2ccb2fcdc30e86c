import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Answer } from "../kit/http.ts";
import { Livy, textOf } from "../kit/livy.ts";
import { type Server, startServer } from "../kit/server.ts";

/** Livy's shape of a refusal: JSON, one field, a text that says something. */
const expectRefusal = (answer: Answer, status: number, message: RegExp): void => {
  expect(answer.headers["content-type"]).toMatch(/^application\/json/);
  expect({ status: answer.status, body: answer.body }).toEqual({ status, body: { msg: expect.stringMatching(message) } });
};

describe("bad input", () => {
  let server: Server;
  let livy: Livy;
  let session: number;

  beforeAll(async () => {
    // Longer than any test: what is answered did not wait for a driver.
    server = await startServer({ flags: ["--start-wait-ms", "1h"] });
    livy = new Livy(server.url);
    session = (await livy.ready({ kind: "pyspark", name: "taken" })).id;
  }, 120_000);
  afterAll(() => server[Symbol.asyncDispose]());

  test.for([
    ["wrong JSON", "{kind", /JSON/],
    ["a cut body", '{"kind":"pysp', /JSON/],
    ["an array", "[]", /object/],
    ["a number", "7", /object/],
    ["a string", '"pyspark"', /object/],
    ["a kind nobody knows", '{"kind":"cobol"}', /kind.*cobol|cobol.*kind/i],
    ["a kind that is a number", '{"kind":5}', /kind/],
    ["a name that is an object", '{"name":{}}', /name/],
    ["an empty name", '{"name":""}', /name/],
    ["a name of digits", '{"name":"123"}', /name/],
    ["a name with NUL", '{"name":"a\\u0000b"}', /name/],
    ["a name with a control character", '{"name":"a\\u001bb"}', /name/],
    ["a name with a line feed", '{"name":"a\\nb"}', /name/],
    ["a name with a lone surrogate", '{"name":"a\\ud800"}', /name/],
    ["an endless name", `{"name":"${"n".repeat(100_000)}"}`, /name/],
    ["a name that is taken", '{"name":"taken"}', /Duplicate session name: taken/],
    ["conf as a list", '{"conf":[]}', /conf/],
    ["a conf value that is an object", '{"conf":{"spark.x":{}}}', /conf/],
    ["a conf key with NUL", '{"conf":{"spark.\\u0000":"1"}}', /conf/],
    ["a conf value with NUL", '{"conf":{"spark.x":"\\u0000"}}', /spark\.x/],
    ["a conf key with a line feed", '{"conf":{"spark.a\\nb":"1"}}', /conf/],
    ["jars as a text", '{"jars":"a.jar"}', /jars/],
    ["cores as a word", '{"driverCores":"two"}', /driverCores/],
    ["negative cores", '{"driverCores":-1}', /driverCores/],
    ["huge cores", '{"executorCores":99999999999}', /executorCores/],
    ["half an executor", '{"numExecutors":1.5}', /numExecutors/],
    ["a timeout as a word", '{"heartbeatTimeoutInSecond":"soon"}', /heartbeatTimeoutInSecond/],
    ["memory that is none", '{"driverMemory":"nonsense"}', /driverMemory.*nonsense/],
    ["a ttl that is no time", '{"ttl":"soon"}', /time/i],
    ["a local file outside the allowed folders", '{"files":["file:///etc/passwd"]}', /\/etc\/passwd/],
    ["a local file behind dots", '{"files":["file:///tmp/../etc/passwd"]}', /\/etc\/passwd/],
    ["a local file, percent-encoded", '{"files":["file:///%65tc/passwd"]}', /passwd/],
    ["a relative file", '{"files":["data.csv"]}', /data\.csv/],
  ] as const)("in a new session: %s is a 400 that says where", async ([, body, message]) => {
    expectRefusal(await livy.ask("POST", "/sessions", body), 400, message);
  });

  test.for([
    ["wrong JSON", "{", /JSON/],
    ["no code", "{}", /code/],
    ["null for code", '{"code":null}', /code/],
    ["code that is an object", '{"code":{}}', /code/],
    ["a kind nobody knows", '{"code":"1","kind":"cobol"}', /cobol/],
    ["bytes that are not UTF-8", Buffer.from('{"code":"\xe9"}', "latin1"), /UTF-8/],
  ] as const)("in a statement: %s is a 400 that says where", async ([, body, message]) => {
    expectRefusal(await livy.ask("POST", `/sessions/${session}/statements`, body), 400, message);
  });

  test.for([
    ["GET", "/sessions/999999", 404, /^Session '999999' not found\.$/],
    ["GET", "/sessions/-1", 404, /^Session '-1' not found\.$/],
    ["GET", "/sessions/nobody", 404, /^Session 'nobody' not found\.$/],
    ["GET", "/sessions/99999999999999999999", 400, /99999999999999999999/],
    ["GET", "/sessions/a%00b", 404, /not found/],
    ["GET", "/sessions/%2e%2e%2fetc", 404, /not found/],
    ["DELETE", "/sessions/999999", 404, /^Session '999999' not found\.$/],
    ["POST", "/sessions/999999/statements", 404, /^Session '999999' not found\.$/],
    ["POST", "/sessions/999999/statements/0/cancel", 404, /^Session '999999' not found\.$/],
  ] as const)("%s %s names what is not there", async ([method, path, status, message]) => {
    expectRefusal(await livy.ask(method, path, method === "POST" ? { code: "1" } : null), status, message);
  });

  test.for([
    ["999999", 404, /not found/i],
    ["-1", 404, /not found/i],
    ["abc", 400, /abc/],
    ["1.5", 400, /1\.5/],
    ["99999999999999999999", 400, /99999999999999999999/],
  ] as const)("a statement with the id %s is answered as such", async ([id, status, message]) => {
    expectRefusal(await livy.ask("GET", `/sessions/${session}/statements/${id}`), status, message);
  });

  test("control characters in code are code: they run, or are a SyntaxError", async () => {
    expect(textOf(await livy.run(session, 'print(len("a\u001bb"))'))).toBe("3");
    expect(textOf(await livy.run(session, "1 + \u0000 1"))).toMatch(/SyntaxError|ValueError/);
    expect(textOf(await livy.run(session, "print('after')"))).toBe("after");
  });

  test("65 MiB of code are too large, and nothing is queued; 20 MB run", { timeout: 180_000 }, async () => {
    const before = (await livy.statements(session)).total_statements;
    const huge = await livy.ask("POST", `/sessions/${session}/statements`, { code: `#${"x".repeat(65 * 1024 * 1024)}` });
    expectRefusal(huge, 413, /larger than 64 MiB/);
    expect((await livy.statements(session)).total_statements).toBe(before);
    expect(textOf(await livy.run(session, `text = "${"x".repeat(20_000_000)}"\nprint(len(text))`, undefined, 120_000))).toBe("20000000");
  });

  test("10,000 statements are queued in order, the next is refused, and a delete clears them", { timeout: 240_000 }, async () => {
    const busy = (await livy.ready()).id;
    const first = await livy.submit(busy, "import time; time.sleep(3600)");
    await livy.running(busy, first.id);
    const ids: number[] = [];
    let refused: Answer | null = null;
    for (let count = 0; count < 10_001 && refused === null; count += 50) {
      const answers = await Promise.all(Array.from({ length: 50 }, () => livy.ask("POST", `/sessions/${busy}/statements`, { code: "1" })));
      ids.push(...answers.filter((answer) => answer.status === 201).map((answer) => Number(JSON.parse(JSON.stringify(answer.body)).id)));
      refused = answers.find((answer) => answer.status !== 201) ?? null;
    }
    expect(ids.length).toBe(10_000);
    expect(new Set(ids).size).toBe(10_000);
    expect(Math.max(...ids)).toBe(10_000);
    if (refused === null) throw new Error("nothing was refused");
    expectRefusal(refused, 400, /10,?000/);
    expect((await livy.statement(busy, 10_000)).state).toBe("waiting");
    await livy.delete(busy);
    expectRefusal(await livy.ask("GET", `/sessions/${busy}`), 404, /not found/);
  });

  test("a statement to a dead session is a 400 that says the state, at once", { timeout: 120_000 }, async () => {
    const { id } = await livy.create({ kind: "pyspark", driverMemory: "100m" });
    await livy.inState(id, ["dead"]);
    expectRefusal(await livy.ask("POST", `/sessions/${id}/statements`, { code: "1" }), 400, /Session is in state dead/);
    expect((await livy.session(id)).log.join("\n")).toMatch(/must be at least|INVALID_DRIVER_MEMORY/);
    await livy.delete(id);
  });

  test("delete while starting ends it, and its name is free again", { timeout: 120_000 }, async () => {
    const { id } = await livy.create({ kind: "pyspark", name: "brief" });
    expect(await livy.delete(id)).toEqual({ msg: "deleted" });
    expectRefusal(await livy.ask("GET", `/sessions/${id}`), 404, /not found/);
    const again = await livy.create({ kind: "pyspark", name: "brief" });
    expect(again.id).toBeGreaterThan(id);
    await livy.delete("brief");
  });

  test("the server went through all this with the session still there", async () => {
    expect(textOf(await livy.run(session, "6 * 7"))).toBe("42");
  });
});
