import { test } from "vitest";
import type { RecordFrame } from "../../../src/protocol/frames.ts";
import { Service } from "../service.ts";

const submit = async (service: Service, code: string) => (await service.ask("POST", "/sessions/0/statements", { body: { code } })).body;
const recordsOf = async (service: Service): Promise<RecordFrame[]> =>
  (await service.ask("GET", "/sessions/0/statements/0/records")).text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

test("a statement's records come as they are told, from the first to its end", async ({ expect }) => {
  await using service = await Service.start();
  const { driver } = await service.ready();
  await submit(service, "print('a')");
  await submit(service, "another");
  const answer = service.ask("GET", "/sessions/0/statements/0/records");
  driver.emit("started", { statement: 0 });
  driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "a\n" });
  driver.emit("stream", { statement: 1, name: "stdout", via: "python", text: "not of this one" });
  driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
  const { headers, text } = await answer;
  expect(headers["content-type"]).toBe("application/x-ndjson; charset=utf-8");
  const records = text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(records).toMatchObject([
    { type: "queued" },
    { type: "started" },
    { type: "stream", text: "a\n" },
    { type: "finished", outcome: "ok" },
  ]);
  expect(records.every((record) => record.statement === 0)).toBe(true);
});

test("the records of a statement that has ended are all there", async ({ expect }) => {
  await using service = await Service.start();
  const { driver } = await service.ready();
  await submit(service, "1");
  driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
  expect((await recordsOf(service)).map(({ type }) => type)).toEqual(["queued", "finished"]);
});

test("a statement that is lost with its driver ends its records by saying so", async ({ expect }) => {
  await using service = await Service.start();
  const { driver } = await service.ready();
  await submit(service, "1");
  const answer = recordsOf(service);
  await service.ask("POST", "/sessions/0/stop");
  const last = (await answer).slice(-2);
  expect(last).toMatchObject([
    { type: "error", ename: "DriverLost" },
    { type: "finished", outcome: "lost" },
  ]);
  // Who leaves out what they have by its number takes these for news.
  expect(last.map(({ seq }) => seq - driver.lastSeq)).toEqual([1, 2]);
});

test("after the session's end a statement's records are what its journal has, to the statement's end", async ({ expect }) => {
  await using service = await Service.start();
  const { driver } = await service.ready();
  await submit(service, "1");
  await submit(service, "another");
  driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "a\n" });
  driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
  const told = await recordsOf(service);
  await service.ask("POST", "/sessions/0/stop");
  const of = (statement: number) => told.map((record) => ({ ...record, frame: "record", statement }) as RecordFrame);
  service.launcher.records = async function* () {
    yield of(1);
    yield of(0);
  };
  expect(told.map(({ type }) => type)).toEqual(["queued", "stream", "finished"]);
  expect(await recordsOf(service)).toEqual(told);
});

test("where the journal went with the driver they are what this server knows", async ({ expect }) => {
  await using service = await Service.start();
  const { driver } = await service.ready();
  await submit(service, "1");
  driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "a\n" });
  driver.emit("display", { statement: 0, data: { "text/plain": "d" }, metadata: {}, displayId: "x", update: false });
  driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
  await recordsOf(service);
  await service.ask("POST", "/sessions/0/stop");
  expect(await recordsOf(service)).toMatchObject([
    { type: "stream", text: "a\n" },
    { type: "display", data: { "text/plain": "d" }, displayId: "x", update: false },
    { type: "finished", outcome: "ok" },
  ]);
});

test("records of a statement that is not there are a 404", async ({ expect }) => {
  await using service = await Service.start();
  await service.ready();
  expect((await service.ask("GET", "/sessions/0/statements/7/records")).status).toBe(404);
});

test("a value that is nested too deeply to be passed on leaves everything else as it is, and says so", async ({ expect }) => {
  await using service = await Service.start();
  const { driver } = await service.ready();
  await submit(service, "1");
  const result = {
    frame: "record",
    seq: driver.lastSeq + 1,
    atMs: 1,
    type: "result",
    statement: 0,
    metadata: { deep: "DEEP" },
    data: "DEEP",
  };
  // JSON.stringify cannot write it.
  const deep = `{"text/plain":${"[".repeat(20_000)}${"]".repeat(20_000)}}`;
  driver.connection.channel.send(JSON.stringify(result).replaceAll('"DEEP"', deep), "bulk");
  driver.emit("executors", { count: 1 });
  driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "a\n" });
  driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
  await service.until(() => service.sessions.find("0", { name: null, remote: null }, "view").peek(0)?.state === "available");
  const { status, body } = await service.ask("GET", "/sessions/0/statements/0");
  expect([status, body]).toMatchObject([
    200,
    { output: { status: "ok", data: { "text/plain": "[It is nested too deeply to be shown.]\na" } } },
  ]);
});
