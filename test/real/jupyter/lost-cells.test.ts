import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { Service } from "../../faces/service.ts";
import { Channels } from "../../kit/channels.ts";
import { runCell, startKernel } from "../../kit/jupyter.ts";
import { until } from "../../kit/until.ts";

interface Doomed {
  readonly service: Service;
  readonly url: string;
  readonly sockets: Set<Socket>;
}

/** A server whose drivers do not listen. */
const startDoomed = async (): Promise<Doomed> => {
  const service = await Service.start();
  service.launcher.listening = false;
  const sockets = new Set<Socket>();
  service.http.app.server.on("connection", (socket) => sockets.add(socket));
  return { service, sockets, url: await service.http.listen({ host: "127.0.0.1", port: 0 }) };
};

/** The server after one that dies without a word, on the same port, with the same session, whose driver does not listen yet. It was made before that server began. */
const serverAfter = async ({ service: first, url, sockets }: Doomed): Promise<Service> => {
  const [draft] = first.launcher.specs;
  if (draft === undefined) throw new Error("no session");
  for (const socket of sockets) socket.destroy();
  await first[Symbol.asyncDispose]();
  const second = await Service.start();
  second.launcher.listening = false;
  // As it reads it back.
  second.launcher.told.known({ ...second.launcher.elsewhere(draft), createdMs: Date.now() - 60_000 });
  await second.http.listen({ host: "127.0.0.1", port: Number(new URL(url).port) });
  return second;
};

/** Its driver comes up and runs one cell. Answers how often it was asked to. */
const runOne = ({ launcher }: Service): (() => number) => {
  const driver = launcher.driver(0);
  driver.on("cell", ({ key, code, kind, origin, silent }) => {
    driver.emit("queued", { statement: 0, key, code, kind, origin, silent });
    driver.emit("started", { statement: 0, count: 1 });
    driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
    return { result: { statement: 0 } };
  });
  driver.listening = true;
  driver.emit("interpreter", { phase: "ready", reason: null, facts: null });
  return () => driver.requests.filter(({ frame }) => frame === "cell").length;
};

/** What a kernel knows of the cell `a`. */
const ask = async (channels: Channels) => {
  const messages = await channels.idle(channels.send("shell", "longwick_cells_request", { cells: ["a"] }));
  return messages.find(({ type }) => type === "longwick_cells_reply")?.content as { session: number; cells: object } | undefined;
};

// The client's pauses before it comes back are random and double each time: one that missed the server often is long in coming.
test("what waited for a driver in a server that died is not waited for any more, and the next cell runs", {
  timeout: 240_000,
}, async () => {
  const first = await startDoomed();
  const { kernel, manager } = await startKernel(first.url);
  // It asks at each connection, and leaves the rejection to nobody when it gives up what it waits for.
  const info = kernel.requestKernelInfo.bind(kernel);
  kernel.requestKernelInfo = () => info().catch(() => undefined);
  try {
    const { done } = kernel.requestExecute({ code: "1" }, true, { cellId: "a" });
    const lost = done.then(
      ({ content }) => content.status,
      (error: Error) => error.message,
    );
    const look = await Channels.open(first.url, kernel.id);
    await until("the server holds the cell", 10_000, async () => ("a" in ((await ask(look))?.cells ?? {}) ? true : undefined));
    look.close();
    await using second = await serverAfter(first);
    expect(await lost).toMatch(/Canceled/);

    const ran = runCell(kernel, "2");
    runOne(second);
    expect((await ran).reply).toMatchObject({ status: "ok", execution_count: 1 });
  } finally {
    kernel.dispose();
    manager.dispose();
  }
});

test("a client that asks for its cells is left to send again what nobody knows, which runs once", { timeout: 120_000 }, async () => {
  const first = await startDoomed();
  const { url } = first;
  const { body } = await first.service.ask("POST", "/api/kernels");
  const { id: kernel } = body as { id: string };
  const session = randomUUID();
  const date = new Date().toISOString();
  const before = await Channels.open(url, kernel, { session });
  const id = before.execute("1", {}, { date, metadata: { cellId: "a" } });
  expect(await ask(before)).toMatchObject({ session: 0, cells: { a: { code: "1" } } });
  await using second = await serverAfter(first);
  const after = await Channels.open(url, kernel, { session });
  const plain = await Channels.open(url, kernel);
  const given = plain.execute("2");
  expect(await ask(after)).toMatchObject({ session: 0, cells: {} });
  const isGivenUp = ({ received }: Channels) => received.some(({ content }) => content["execution_state"] === "restarting");
  await plain.until("it is told that its cells are lost", () => isGivenUp(plain));
  expect(plain.of(given).find(({ type }) => type === "execute_reply")?.content["status"]).toBe("aborted");
  expect(isGivenUp(after)).toBe(false);
  const times = runOne(second);
  for (let round = 0; round < 2; round += 1) after.execute("1", {}, { id, date, metadata: { cellId: "a" } });
  await after.idle(id);
  await until("the driver has been asked for both", 10_000, () => (times() === 2 ? true : undefined));
  expect(after.of(id).filter(({ type }) => type === "execute_reply")).toHaveLength(1);
  const keys = new Set(second.launcher.driver(0).requests.flatMap(({ frame, key }) => (frame === "cell" ? [key] : [])));
  expect(keys.size).toBe(1);
  for (const channels of [after, plain]) channels.close();
});
