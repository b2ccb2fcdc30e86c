import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import { Service } from "../service.ts";

const lines = (from: number, count: number) => Array.from({ length: count }, (_, index) => `line ${from + index}`);

test("a session's log is text, whole: what was let go is read from the driver", async () => {
  await using service = await Service.start();
  const { driver } = await service.ready({ kind: "pyspark", nosuch: 1 });
  driver.on("log", ({ fromLine, lines: count }) => ({
    result: { fromLine, total: 1_500, lines: lines(Number(fromLine), Math.min(Number(count), 1_500 - Number(fromLine))) },
  }));
  driver.emit("log", { line: 0, lines: lines(0, 1_500) });
  await service.until(() => service.sessions.find("0", { name: null, remote: null }, "view").logTotal === 1_501);
  const { status, headers, text } = await service.ask("GET", "/sessions/0/driver-log");
  expect([status, headers["content-type"], headers["x-content-type-options"]]).toEqual([200, "text/plain; charset=utf-8", "nosniff"]);
  expect(text).toBe(["Unknown field 'nosuch' of the request is ignored.", ...lines(0, 1_500), ""].join("\n"));
  for (const follow of ["0", "false"]) expect((await service.ask("GET", `/sessions/0/driver-log?follow=${follow}`)).text).toBe(text);
  expect((await service.ask("GET", "/sessions/1/driver-log")).body).toEqual({ msg: "Session '1' not found." });
});

test("it is followed to the session's end, which it tells", async () => {
  await using service = await Service.start();
  const { driver } = await service.ready();
  const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
  driver.emit("log", { line: 0, lines: ["line 0"] });
  const request = get(`${url}/sessions/0/driver-log?follow`);
  const [response]: [IncomingMessage] = (await once(request, "response")) as [IncomingMessage];
  let text = "";
  response.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
  });
  for (const line of [0, 1, 2]) {
    if (line > 0) driver.emit("log", { line, lines: [`line ${line}`] });
    await service.until(() => text.endsWith(`line ${line}\n`));
  }
  const ended = once(response, "end", { signal: AbortSignal.timeout(5_000) });
  await service.ask("POST", "/sessions/0/stop");
  await ended;
  expect(text).toBe("line 0\nline 1\nline 2\nSession ended (dead): it was stopped\n");
  expect((await service.ask("GET", "/sessions/0/driver-log")).text).toBe(text);
});

test("who leaves while following is let go, and so is everybody when the server goes", async () => {
  await using service = await Service.start();
  const { driver } = await service.ready();
  driver.log("line 0");
  const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
  const follow = async () => {
    const request = get(`${url}/sessions/0/driver-log?follow`);
    const [response] = (await once(request, "response")) as [IncomingMessage];
    return { request, response: response.resume() };
  };
  const { request } = await follow();
  request.destroy();
  const { response } = await follow();
  const ended = once(response, "close", { signal: AbortSignal.timeout(5_000) });
  service.http.drain();
  await ended;
});
