import { test } from "vitest";
import { Service } from "../service.ts";

const submit = async (service: Service, code: string) => (await service.ask("POST", "/sessions/0/statements", { body: { code } })).body;

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
  const { text } = await service.ask("GET", "/sessions/0/statements/0/records");
  expect(
    text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).type),
  ).toEqual(["queued", "finished"]);
});

test("a statement that is lost with its driver ends its records by saying so", async ({ expect }) => {
  await using service = await Service.start();
  await service.ready();
  await submit(service, "1");
  const answer = service.ask("GET", "/sessions/0/statements/0/records");
  await service.ask("POST", "/sessions/0/stop");
  const { text } = await answer;
  expect(
    text
      .trimEnd()
      .split("\n")
      .slice(-2)
      .map((line) => JSON.parse(line)),
  ).toMatchObject([
    { type: "error", ename: "DriverLost" },
    { type: "finished", outcome: "lost" },
  ]);
});

test("records of a statement that is not there are a 404", async ({ expect }) => {
  await using service = await Service.start();
  await service.ready();
  expect((await service.ask("GET", "/sessions/0/statements/7/records")).status).toBe(404);
});
