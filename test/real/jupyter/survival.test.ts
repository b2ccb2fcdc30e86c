import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Channels } from "../../kit/channels.ts";
import { runCell, startKernel } from "../../kit/jupyter.ts";
import { type Server, startServer } from "../../kit/server.ts";
import { until } from "../../kit/until.ts";

/** A cell that prints numbers until it is told to end. */
class Loop {
  static #made = 0;
  readonly code: string;
  readonly #directory: string;

  constructor(server: Server) {
    Loop.#made += 1;
    this.#directory = join(server.directory, `loop-${Loop.#made}`);
    mkdirSync(this.#directory);
    const path = (name: string) => JSON.stringify(join(this.#directory, name));
    this.code = `import os, time
i = 0
while not os.path.exists(${path("enough")}):
    print(i, end=' ', flush=True); i += 1; time.sleep(0.1)
open(${path("printed.new")}, 'w').write(str(i)); os.rename(${path("printed.new")}, ${path("printed")})`;
  }

  /** Has it end, and answers all that it has printed. */
  async whole(): Promise<string> {
    writeFileSync(join(this.#directory, "enough"), "");
    const printed = join(this.#directory, "printed");
    const count = await until("the loop has ended", 30_000, () => (existsSync(printed) ? Number(readFileSync(printed)) : undefined));
    return Array.from({ length: count }, (_, index) => `${index} `).join("");
  }
}

describe("a server killed with 9 while a cell prints", () => {
  let server: Server;
  let kernel: string;

  beforeAll(async () => {
    server = await startServer();
    const answer = await fetch(`${server.url}/api/kernels`, { method: "POST" });
    ({ id: kernel } = (await answer.json()) as { id: string });
    const channels = await Channels.open(server.url, kernel);
    await channels.idle(channels.execute("1"));
    channels.close();
  });
  afterAll(async () => server?.[Symbol.asyncDispose]());

  test("a client that counts misses nothing and sees nothing twice", async () => {
    const session = randomUUID();
    const loop = new Loop(server);
    const first = await Channels.open(server.url, kernel, { session, v1: true, query: { longwick: "1" } });
    const id = first.execute(loop.code);
    await first.until("some is printed", () => first.shown(id).length > 20);
    await server.kill();
    await first.until("the socket is gone", () => first.closed !== null);
    const before = first.of(id);
    await server.start();
    const second = await Channels.open(server.url, kernel, { session, v1: true, query: { longwick: "1", after: first.position } });
    const whole = await loop.whole();
    await second.idle(id);
    const all = [...before, ...second.of(id)].filter(({ metadata }) => metadata.longwick !== undefined);
    const positions = all.map(({ metadata }) => metadata.longwick?.at);
    expect(new Set(positions).size).toBe(positions.length);
    expect(all.map(({ content }) => content["text"] ?? "").join("")).toBe(whole);
    expect(all.map(({ type }) => type).filter((type) => type !== "stream")).toEqual(["status", "execute_input", "execute_reply", "status"]);
    second.close();
  });

  test("a foreign client is shown all of it, once", async () => {
    const session = randomUUID();
    const loop = new Loop(server);
    const first = await Channels.open(server.url, kernel, { session });
    const id = first.execute(loop.code);
    await first.until("some is printed", () => first.shown(id).length > 20);
    await server.kill();
    await server.start();
    const second = await Channels.open(server.url, kernel, { session });
    const whole = await loop.whole();
    await second.idle(id);
    expect(second.shown(id)).toBe(whole);
    expect(second.of(id).filter(({ type }) => type === "clear_output")).toHaveLength(1);
    expect(second.of(id).filter(({ type }) => type === "execute_reply")).toHaveLength(1);
    second.close();
  });

  test("a page that was loaded anew, and whose server is another one since, is shown all of its cell, once", async () => {
    const page = await Channels.open(server.url, kernel);
    const loop = new Loop(server);
    const id = page.execute(loop.code, {}, { metadata: { cellId: "loop" } });
    await page.until("some is printed", () => page.shown(id).length > 20);
    page.close();
    const session = randomUUID();
    /** As JupyterLab's extension does whenever it has reached the kernel. */
    const find = async (channels: Channels) => {
      const messages = await channels.idle(channels.send("shell", "longwick_cells_request", { cells: ["loop"] }));
      const told = messages.find(({ type }) => type === "longwick_cells_reply")?.content["cells"] as Record<string, { header: object }>;
      channels.execute(loop.code, {}, { ...told["loop"]?.header, id, metadata: { longwick: { again: true } } });
    };
    const first = await Channels.open(server.url, kernel, { session });
    await find(first);
    await first.until("it is told", () => first.shown(id).length > 20);
    await server.kill();
    await server.start();
    const second = await Channels.open(server.url, kernel, { session });
    await find(second);
    const whole = await loop.whole();
    await second.idle(id);
    expect(second.shown(id)).toBe(whole);
    expect(second.of(id).filter(({ type }) => type === "execute_reply")).toHaveLength(1);
    second.close();
  });

  test("kernel id, numbers and history are the same after it", async () => {
    const channels = await Channels.open(server.url, kernel);
    const before = await channels.idle(channels.execute("'before'"));
    const count = Number(before.find(({ type }) => type === "execute_reply")?.content["execution_count"]);
    await server.restart();
    const after = await Channels.open(server.url, kernel);
    const next = await after.idle(after.execute("_"));
    expect(next.find(({ type }) => type === "execute_result")?.content).toMatchObject({
      execution_count: count + 1,
      data: { "text/plain": "'before'" },
    });
    const told = await after.idle(after.send("shell", "history_request", { hist_access_type: "tail", n: 2, raw: true, output: false }));
    expect(told.find(({ type }) => type === "history_reply")?.content["history"]).toEqual([
      [0, count, "'before'"],
      [0, count + 1, "_"],
    ]);
    after.close();
  });
});

test("JupyterLab's own client comes back by itself when the server was restarted, and its cell ends whole", {
  timeout: 300_000,
}, async () => {
  await using server = await startServer();
  await using started = await startKernel(server.url);
  await runCell(started.kernel, "1");
  const shown: string[] = [];
  const loop = new Loop(server);
  let restarted: Promise<string> | null = null;
  const restartUnder = async (running: Loop): Promise<string> => {
    await server.restart();
    // Its pauses are random and double each time.
    await until("the client is there again", 180_000, () => (started.kernel.connectionStatus === "connected" ? true : undefined));
    return running.whole();
  };
  const ran = runCell(started.kernel, loop.code, {
    onMessage: ({ header, content }) => {
      if (header.msg_type === "clear_output") shown.length = 0;
      if (header.msg_type === "stream" && "text" in content) {
        shown.push(content.text as string);
        if (shown.length === 5) restarted ??= restartUnder(loop);
      }
    },
  });
  expect((await ran).reply).toMatchObject({ status: "ok" });
  expect(shown.join("")).toBe(await restarted);
});
