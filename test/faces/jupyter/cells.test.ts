import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { Channels } from "../../kit/channels.ts";
import { Service } from "../service.ts";
import { cells, comeUp, onStage, run } from "./stage.ts";

/** A page that was loaded anew: another client, which finds its cells again (kernelspec/labextension/). */

interface Told {
  readonly code: string;
  readonly header: { readonly msg_id: string; readonly session: string; readonly date: string };
  readonly finished: number | null;
}

const ask = async (channels: Channels, named: unknown): Promise<Readonly<Record<string, Told>>> => {
  const messages = await channels.idle(channels.send("shell", "longwick_cells_request", { cells: named }));
  // The reply of our own server.
  return messages.find(({ type }) => type === "longwick_cells_reply")?.content["cells"] as Record<string, Told>;
};

/** As the page does: the request as it was, to be told of again. */
const again = (channels: Channels, { code, header }: Told): string =>
  channels.execute(code, {}, { id: header.msg_id, ...header, metadata: { longwick: { again: true } } });

test("a kernel says what ran last of each cell that is asked for", () =>
  onStage(async ({ service, driver, open }) => {
    const page = await open();
    const id = page.execute("first", {}, { metadata: { cellId: "a" } });
    await service.until(() => cells(driver) === 1);
    run(driver, 0, ["x"]);
    await page.idle(id);
    const second = page.execute("second", {}, { metadata: { cellId: "a" } });
    page.execute("third", {}, { metadata: { cellId: "b" } });
    await service.until(() => cells(driver) === 3);
    const other = await open();
    const told = await ask(other, ["a", "c", 7]);
    expect(other.received.findIndex(({ metadata }) => metadata.longwick_joined === true)).toBe(0);
    expect(Object.keys(told)).toEqual(["a"]);
    expect(told["a"]).toMatchObject({ code: "second", header: { msg_id: second, session: page.session }, finished: null });
    expect(await ask(other, "no list")).toEqual({});
  }));

test.each([{ counted: false }, { counted: true }])("a cell that runs is told whole to another client, then goes on: %j", ({ counted }) =>
  onStage(async ({ service, driver, open }) => {
    const page = await open({ v1: true });
    const id = page.execute("loop", {}, { metadata: { cellId: "a" } });
    await service.until(() => cells(driver) === 1);
    run(driver, 0, ["a", "b"], false);
    await page.until("b is there", () => page.shown(id) === "ab");
    page.close();
    const other = await open({ v1: true, query: counted ? { longwick: "1" } : {} });
    const { a } = await ask(other, ["a"]);
    if (a === undefined) throw new Error("the cell is not known");
    const position = other.position;
    again(other, a);
    await other.until("b is there", () => other.shown(id) === "ab");
    expect(other.position).toBe(position);
    driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "c" });
    driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
    await other.idle(id);
    expect(other.shown(id)).toBe("abc");
    expect(
      other
        .of(id)
        .filter(({ type }) => type === "clear_output" || type === "execute_reply")
        .map(({ type }) => type),
    ).toEqual([...["clear_output", "execute_reply"]]);
    expect(driver.statements.size).toBe(1);
  }),
);

test("a cell that has ended meanwhile is told whole, each time it is asked for", () =>
  onStage(async ({ service, driver, open }) => {
    const page = await open();
    const id = page.execute("quick", {}, { metadata: { cellId: "a" } });
    await service.until(() => cells(driver) === 1);
    run(driver, 0, ["a"]);
    await page.idle(id);
    for (let round = 0; round < 2; round += 1) {
      const other = await open();
      const { a } = await ask(other, ["a"]);
      if (a === undefined) throw new Error("the cell is not known");
      again(other, a);
      await other.idle(id);
      expect(other.shown(id)).toBe("a");
      expect(other.of(id).map(({ type }) => type)).toEqual([
        "clear_output",
        "status",
        "execute_input",
        "stream",
        "execute_reply",
        "status",
      ]);
    }
  }));

test("a cell that waits for input() asks again, and another client answers", () =>
  onStage(async ({ service, driver, open }) => {
    const page = await open();
    const id = page.execute("input()", { allow_stdin: true }, { metadata: { cellId: "a" } });
    await service.until(() => cells(driver) === 1);
    run(driver, 0, [], false);
    driver.emit("input", { statement: 0, prompt: "name?", password: false });
    await page.until("it is asked", (received) => received.some(({ type }) => type === "input_request"));
    page.close();
    const other = await open();
    const { a } = await ask(other, ["a"]);
    if (a === undefined) throw new Error("the cell is not known");
    again(other, a);
    await other.until("it is asked again", () => other.of(id).some(({ type }) => type === "input_request"));
    other.send("stdin", "input_reply", { status: "ok", value: "ann" });
    await service.until(() => driver.requests.some(({ frame }) => frame === "answer"));
    expect(driver.requests.find(({ frame }) => frame === "answer")).toMatchObject({ statement: 0, value: "ann" });
  }));

test("a question that was answered, or whose cell has ended, is not asked again", () =>
  onStage(async ({ service, driver, open }) => {
    driver.on("answer", () => ({ result: { taken: true } }));
    const [session] = service.sessions.list({ name: null, remote: null });
    const page = await open();
    const id = page.execute("input(); input(); loop()", { allow_stdin: true }, { metadata: { cellId: "a" } });
    await service.until(() => cells(driver) === 1);
    run(driver, 0, [], false);
    const prompts = (channels: Channels) =>
      channels.of(id).flatMap(({ type, content }) => (type === "input_request" ? [content["prompt"]] : []));
    /** What another client is asked by the time that it has been told so far. */
    const told = async (last: (channels: Channels) => boolean) => {
      const other = await open();
      const { a } = await ask(other, ["a"]);
      if (a === undefined) throw new Error("the cell is not known");
      again(other, a);
      await other.until("it is told", () => last(other));
      return prompts(other);
    };
    const isShown = (channels: Channels) => channels.shown(id) === "x";
    for (const prompt of ["first?", "second?"]) {
      driver.emit("input", { statement: 0, prompt, password: false });
      await page.until("it is asked", () => prompts(page).includes(prompt));
      expect(await told((other) => prompts(other).includes(prompt))).toEqual([prompt]);
      page.send("stdin", "input_reply", { status: "ok", value: "ann" });
      await service.until(() => session?.running?.input === null);
    }
    driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "x" });
    expect(await told(isShown)).toEqual([]);
    driver.emit("input", { statement: 0, prompt: "third?", password: false });
    driver.emit("finished", { statement: 0, outcome: "cancelled", rung: "signal" });
    await page.idle(id);
    expect(await told(isShown)).toEqual([]);
  }));

test("two pages that show one cell are both told its end", () =>
  onStage(async ({ service, driver, open }) => {
    const page = await open();
    const id = page.execute("loop", {}, { metadata: { cellId: "a" } });
    await service.until(() => cells(driver) === 1);
    run(driver, 0, ["a"], false);
    await page.until("a is there", () => page.shown(id) === "a");
    const other = await open();
    const { a } = await ask(other, ["a"]);
    if (a === undefined) throw new Error("the cell is not known");
    again(other, a);
    await other.until("a is there", () => other.shown(id) === "a");
    driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
    for (const each of [page, other]) {
      await each.idle(id);
      expect(each.of(id).filter(({ type }) => type === "execute_reply")).toHaveLength(1);
    }
  }));

test("a cell that waits for Spark is found by another client, and shown once it runs", async () => {
  await using service = await Service.start();
  service.launcher.listening = false;
  const { body } = await service.ask("POST", "/api/kernels");
  const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
  const kernel = (body as { id: string }).id;
  const page = await Channels.open(url, kernel);
  const id = page.execute("first", {}, { metadata: { cellId: "a" } });
  const { a: seen } = await ask(page, ["a"]);
  expect(seen).toMatchObject({ code: "first", header: { msg_id: id }, finished: null });
  page.close();
  const other = await Channels.open(url, kernel);
  const { a } = await ask(other, ["a"]);
  if (a === undefined) throw new Error("the cell is not known");
  again(other, a);
  await ask(other, ["a"]);
  const driver = service.launcher.driver(0);
  comeUp(driver);
  await service.until(() => cells(driver) === 1);
  run(driver, 0, ["x"]);
  await other.idle(id);
  expect(other.shown(id)).toBe("x");
  expect(other.of(id).filter(({ type }) => type === "execute_reply")).toHaveLength(1);
  other.close();
});

test("what is not known is answered as aborted and never run", () =>
  onStage(async ({ driver, open }) => {
    const channels = await open();
    const id = channels.execute("rm", {}, { id: randomUUID(), metadata: { longwick: { again: true } } });
    const messages = await channels.idle(id);
    expect(messages.find(({ type }) => type === "execute_reply")?.content).toMatchObject({ status: "aborted" });
    expect(cells(driver)).toBe(0);
  }));

test("a driver that keeps no header as it was sent keeps nobody from the rest", () =>
  onStage(async ({ driver, open }) => {
    const origin = { face: "jupyter", client: "c", header: "no json", stored: true, comm: false, cell: "a" };
    driver.emit("queued", { statement: 7, key: "k", code: "1", kind: "pyspark", origin, silent: false });
    const channels = await open();
    expect(await ask(channels, ["a"])).toEqual({});
    const id = channels.execute("1", {}, { metadata: { longwick: { again: true } } });
    const messages = await channels.idle(id);
    expect(messages.find(({ type }) => type === "execute_reply")?.content).toMatchObject({ status: "aborted" });
  }));
