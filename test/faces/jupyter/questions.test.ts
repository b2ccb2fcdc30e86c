import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { kernelIdOf } from "../../../src/core/kernel-id.ts";
import { Channels, type Received } from "../../kit/channels.ts";
import type { FakeDriver } from "../../kit/fake-driver.ts";
import { draftOf } from "../../launch/contract.ts";
import { Service } from "../service.ts";
import { cells, onStage, run, type Stage } from "./stage.ts";

/** Of `input()`: who may answer, and which question an answer is for. */

const answersOf = (driver: FakeDriver): readonly unknown[] =>
  driver.requests.filter(({ frame }) => frame === "answer").map(({ value }) => value);

/** The client's cell asks; answers the input_request. */
const asked = async ({ driver }: Stage, channels: Channels, statement: number, prompt: string): Promise<Received> => {
  driver.emit("input", { statement, prompt, password: false });
  await channels.until(`${prompt} is asked`, (received) => received.some(({ content }) => content["prompt"] === prompt));
  const question = channels.received.find(({ content }) => content["prompt"] === prompt);
  if (question === undefined) throw new Error("it is not asked");
  return question;
};

/** The client's cell runs. */
const running = async ({ service, driver }: Stage, channels: Channels, statement: number): Promise<string> => {
  const id = channels.execute("input()", { allow_stdin: true });
  await service.until(() => cells(driver) === statement + 1);
  run(driver, statement, [], false);
  return id;
};

const type = (channels: Channels, value: string, parent: object = {}): void => {
  channels.send("stdin", "input_reply", { status: "ok", value }, { parent });
};

/** All that was sent over this socket before has been looked at. */
const taken = (channels: Channels): Promise<unknown> => channels.idle(channels.send("shell", "kernel_info_request", {}));

describe.each([{ v1: false }, { v1: true }])("an answer, %j", ({ v1 }) => {
  test("to a question that is over is not one to the next", () =>
    onStage(async (stage) => {
      stage.driver.on("answer", () => ({ result: { taken: true } }));
      const page = await stage.open({ v1 });
      const id = await running(stage, page, 0);
      const first = await asked(stage, page, 0, "first?");
      stage.driver.emit("finished", { statement: 0, outcome: "cancelled", rung: "signal" });
      await page.idle(id);
      await running(stage, page, 1);
      const second = await asked(stage, page, 1, "second?");
      type(page, "late", first.header);
      type(page, "right", second.header);
      await stage.service.until(() => answersOf(stage.driver).includes("right"));
      expect(answersOf(stage.driver)).toEqual(["right"]);
    }));

  test("of a client that was not asked is nobody's; of one that names no question it is the one that is asked", () =>
    onStage(async (stage) => {
      stage.driver.on("answer", () => ({ result: { taken: true } }));
      const [page, other] = [await stage.open({ v1 }), await stage.open({ v1 })];
      await running(stage, page, 0);
      await asked(stage, page, 0, "name?");
      type(other, "of another");
      await taken(other);
      type(page, "ann");
      await stage.service.until(() => answersOf(stage.driver).includes("ann"));
      expect(answersOf(stage.driver)).toEqual(["ann"]);
    }));
});

/** A server that has just started, and a session of before whose cell asks; `driver` cannot be reached yet. */
const restarted = async (use: (service: Service, driver: FakeDriver, channels: Channels) => Promise<void>): Promise<void> => {
  await using service = await Service.start();
  const { launcher } = service;
  launcher.listening = false;
  const claim = { ...launcher.elsewhere(draftOf()), createdMs: Date.now() - 60_000 };
  const driver = launcher.driver(claim.id);
  const client = randomUUID();
  const header = JSON.stringify({ msg_id: "before", session: client, date: new Date().toISOString(), msg_type: "execute_request" });
  const origin = { face: "jupyter", client, header, stored: true, comm: false, cell: null };
  driver.emit("interpreter", { phase: "ready", reason: null, facts: null });
  driver.emit("queued", { statement: 0, key: "k", code: "input()", kind: "pyspark", origin, silent: false });
  run(driver, 0, [], false);
  driver.emit("input", { statement: 0, prompt: "name?", password: false });
  launcher.told.known(claim);
  const channels = await Channels.open(await service.http.listen({ host: "127.0.0.1", port: 0 }), kernelIdOf(claim), { session: client });
  try {
    await use(service, driver, channels);
  } finally {
    channels.close();
  }
};

test("what is typed while the driver of a server that has just started is not reached is an answer", () =>
  restarted(async (service, driver, channels) => {
    driver.on("answer", () => ({ result: { taken: true } }));
    type(channels, "ann");
    await taken(channels);
    driver.listening = true;
    await service.until(() => answersOf(driver).length > 0);
    expect(answersOf(driver)).toEqual(["ann"]);
  }));

test.each([
  { answered: true, asked: [] },
  { answered: false, asked: ["name?"] },
])("after a server's start a question is asked again unless it was answered: %j", ({ answered, asked: expected }) =>
  restarted(async (_service, driver, channels) => {
    if (answered) driver.emit("answered", { statement: 0 });
    driver.listening = true;
    driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "x" });
    await channels.until("it is told", () => channels.shown("before") === "x");
    expect(channels.received.flatMap(({ type, content }) => (type === "input_request" ? [content["prompt"]] : []))).toEqual(expected);
  }),
);
