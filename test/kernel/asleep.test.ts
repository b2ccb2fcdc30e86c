import { randomUUID } from "node:crypto";
import { afterEach, expect, test, vi } from "vitest";
import { Remote } from "../../src/kernel/remote.ts";
import { Service } from "../faces/service.ts";
import { Channels, type Received } from "../kit/channels.ts";
import type { FakeDriver } from "../kit/fake-driver.ts";
import { TcpProxy } from "../kit/tcp-proxy.ts";

/** A computer that sleeps for an hour while the server and its drivers go on: its connections are dead, and neither end was told. */

const HOUR_MS = 3_600_000;
const WHOLE = Array.from({ length: 9 }, (_, number) => `${number} `).join("");

interface Stage {
  readonly service: Service;
  readonly driver: FakeDriver;
  readonly proxy: TcpProxy;
  readonly url: string;
  readonly kernel: string;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** From here on the clock stands, and goes on in `pass` alone. */
const holdClock = (): void =>
  void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
afterEach(() => void vi.useRealTimers());

/** Sockets, whose time is real, have their turns in between. */
const pass = async (ms: number, steps: number): Promise<void> => {
  for (let step = 0; step < steps; step += 1) {
    await vi.advanceTimersByTimeAsync(ms / steps);
    await turn();
  }
};

/** Bounded by the one clock that goes on. */
const come = async (what: string, fact: () => boolean): Promise<void> => {
  const end = process.hrtime.bigint() + 8_000_000_000n;
  while (!fact()) {
    if (process.hrtime.bigint() > end) throw new Error(`it does not come: ${what}`);
    await pass(1, 1);
  }
};

const onStage = async (use: (stage: Stage) => Promise<void>): Promise<void> => {
  await using service = await Service.start();
  const { id, driver } = await service.ready();
  const { body } = await service.ask("POST", "/api/kernels", { body: { longwick: { session: id } } });
  const { port } = new URL(await service.http.listen({ host: "127.0.0.1", port: 0 }));
  await using proxy = await TcpProxy.before(Number(port));
  holdClock();
  await use({ service, driver, proxy, url: `http://127.0.0.1:${proxy.port}`, kernel: (body as { id: string }).id });
  vi.useRealTimers();
};

const print = (driver: FakeDriver, from: number, to: number): void => {
  for (let number = from; number < to; number += 1)
    driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: `${number} ` });
};

/** The cell prints before, during and after the hour. */
const sleepMidCell = async ({ driver, proxy }: Stage, seen: () => string): Promise<void> => {
  await come("the driver's cell", () => driver.requests.some(({ frame }) => frame === "cell"));
  driver.emit("started", { statement: 0, count: 1 });
  print(driver, 0, 3);
  await come("the first output", () => seen() === "0 1 2 ");
  proxy.goSilent();
  print(driver, 3, 6);
  await pass(HOUR_MS, 720);
  expect(driver.connections.some(({ closed }) => !closed)).toBe(true);
  print(driver, 6, 9);
  driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
};

test("the native kernel misses nothing and hears nothing twice", { timeout: 30_000 }, () =>
  onStage(async (stage) => {
    const session = randomUUID();
    const heard: { readonly type: string; readonly at: string | undefined; readonly text: string }[] = [];
    const away: string[] = [];
    const remote = new Remote(
      {
        url: `${stage.url.replace("http", "ws")}/api/kernels/${stage.kernel}/channels?session_id=${session}`,
        ...{ after: null, authorization: () => null, dial: null, pauses: { next: () => 100, reset: () => undefined } },
      },
      {
        onOpen: () => undefined,
        onMessage: (_channel, [header, parent, metadata, content]) => {
          // What the server says of itself, as that the cell still runs, has no position.
          if (!String(parent).includes('"the-cell"') || !String(metadata).includes('"at"')) return;
          const { msg_type: type } = JSON.parse(String(header));
          heard.push({ type, at: JSON.parse(String(metadata)).longwick?.at, text: JSON.parse(String(content)).text ?? "" });
        },
        onAway: (reason) => away.push(reason),
        onTooLong: () => undefined,
        onEnd: ({ reason }) => away.push(reason),
      },
    );
    try {
      await come("its connection", () => remote.open);
      const header = { msg_id: "the-cell", msg_type: "execute_request", session, username: "", version: "5.5", date: "" };
      remote.send(
        "shell",
        [header, {}, {}, { code: "…", silent: false }].map((part) => Buffer.from(JSON.stringify(part))),
      );
      const text = () => heard.map((each) => each.text).join("");
      await sleepMidCell(stage, text);
      await come("the cell's end", () => heard.some(({ type }) => type === "execute_reply") && heard.at(-1)?.type === "status");
      expect(text()).toBe(WHOLE);
      expect(heard.map(({ type }) => type).filter((type) => type !== "stream")).toEqual([
        "status",
        "execute_input",
        "execute_reply",
        "status",
      ]);
      expect(new Set(heard.map(({ at }) => at)).size).toBe(heard.length);
      expect([away.length > 0, stage.proxy.connections > 1]).toEqual([true, true]);
    } finally {
      remote.close();
    }
  }),
);

test("to a foreign client the cell is cleared and told again whole", { timeout: 30_000 }, () =>
  onStage(async (stage) => {
    const session = randomUUID();
    const shown = (received: readonly Received[]) => received.map(({ content }) => content["text"] ?? "").join("");
    const first = new Channels(stage.url, stage.kernel, { session });
    await come("its connection", () => first.socket.readyState === 1);
    const id = first.execute("…");
    await sleepMidCell(stage, () => shown(first.of(id)));
    // Nobody of the server's side holds on to a client that is silent.
    expect((await stage.service.ask("GET", `/api/kernels/${stage.kernel}`)).body).toMatchObject({ connections: 0 });
    first.socket.terminate();
    const second = new Channels(stage.url, stage.kernel, { session });
    await come("the cell's end", () => second.of(id).some(({ content }) => content["execution_state"] === "idle"));
    const [, ...told] = second.of(id);
    expect(
      second
        .of(id)
        .map(({ type }) => type)
        .filter((type) => type === "clear_output" || type === "execute_reply"),
    ).toEqual(["clear_output", "execute_reply"]);
    expect(shown(told)).toBe(WHOLE);
    second.close();
  }),
);

test("a clock that was put back keeps nobody's touches from the driver", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await using service = await Service.start();
  const { id, driver } = await service.ready();
  const session = service.sessions.find(String(id), { name: null, remote: null }, "view");
  const touches = () => driver.requests.filter(({ frame }) => frame === "touch").length;
  session.touch("a kernel");
  await service.until(() => touches() === 1);
  session.touch("a kernel");
  vi.setSystemTime(Date.now() - 3 * HOUR_MS);
  session.touch("a kernel");
  await service.until(() => touches() === 2);
});
