import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type AuditEvent, onAudit } from "../../../src/core/events.ts";
import { Channels } from "../../kit/channels.ts";
import { Service } from "../service.ts";
import { cells, comeUp, onStage, run } from "./stage.ts";

describe.each([{ v1: false }, { v1: true }])("a kernel's channels, %j", ({ v1 }) => {
  test("execute: busy, input, output, reply, idle, all with the request's whole header as parent", () =>
    onStage(async ({ service, driver, open }) => {
      const channels = await open({ v1 });
      const id = channels.execute("print(1)", { user_expressions: { a: "1" } });
      await service.until(() => cells(driver) === 1);
      run(driver, 0, ["1\n"]);
      const messages = await channels.idle(id);
      expect(messages.map(({ channel, type }) => `${channel} ${type}`)).toEqual([
        ...["iopub status", "iopub execute_input", "iopub stream", "shell execute_reply", "iopub status"],
      ]);
      expect(messages[3]?.content).toEqual({ status: "ok", execution_count: 1, payload: [], user_expressions: {} });
      expect(messages.every(({ binary }) => binary === v1)).toBe(true);
      expect(driver.requests.find(({ frame }) => frame === "cell")).toMatchObject({ expressions: { a: "1" }, stored: true, parent: id });
    }));

  test("what nobody knows is answered with busy and idle; what is no message is let pass", () =>
    onStage(async ({ open }) => {
      const channels = await open({ v1 });
      channels.socket.send(Buffer.from([1, 2, 3]));
      channels.socket.send("no json");
      // As v1 a count of offsets, and offsets, far outside of the frame.
      for (const byte of [0, 1, 0x7f, 0xff]) channels.socket.send(Buffer.alloc(64, byte));
      channels.socket.send(Buffer.from(BigUint64Array.of(6n, 2n ** 64n - 1n, 0n, 2n ** 63n, 8n, 1n, 56n).buffer));
      const unknown = channels.send("shell", "dance_request", {});
      expect((await channels.idle(unknown)).map(({ content }) => content["execution_state"])).toEqual(["busy", "idle"]);
      const subshell = channels.send("control", "create_subshell_request", {});
      expect(await channels.idle(subshell)).toHaveLength(2);
    }));
});

describe("positions", () => {
  test("a client that counts reads on exactly where it stopped", () =>
    onStage(async ({ service, driver, open }) => {
      const session = randomUUID();
      const first = await open({ session, v1: true, query: { longwick: "1" } });
      const id = first.execute("loop");
      await service.until(() => cells(driver) === 1);
      run(driver, 0, ["a", "b"], false);
      await first.until("b is there", () => first.shown(id) === "ab");
      const after = first.position;
      first.close();
      driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "c" });
      const second = await open({ session, v1: true, query: { longwick: "1", after } });
      driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "d" });
      driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
      await second.idle(id);
      expect(second.shown(id)).toBe("cd");
      expect(second.of(id).map(({ type }) => type)).toEqual(["status", "stream", "stream", "execute_reply", "status"]);
    }));

  test("a position between the messages of one record is kept to", () =>
    onStage(async ({ service, driver, open }) => {
      const session = randomUUID();
      const first = await open({ session, query: { longwick: "1" } });
      const id = first.execute("1");
      await service.until(() => cells(driver) === 1);
      run(driver, 0, []);
      await first.idle(id);
      const reply = first.received.find(({ type }) => type === "execute_reply");
      const second = await open({ session, query: { longwick: "1", after: reply?.metadata.longwick?.at ?? "" } });
      await second.until("what is left of the record", (received) => received.some(({ metadata }) => metadata.longwick !== undefined));
      const counted = second.received.filter(({ metadata }) => metadata.longwick !== undefined);
      expect(counted.map(({ type, content }) => [type, content["execution_state"]])).toEqual([["status", "idle"]]);
    }));

  test("a request that is sent again runs once", () =>
    onStage(async ({ service, driver, open }) => {
      const session = randomUUID();
      const sent = { id: randomUUID(), date: new Date().toISOString() };
      for (let round = 0; round < 2; round += 1) {
        const channels = await open({ session, query: { longwick: "1" } });
        channels.execute("once", {}, sent);
        await service.until(() => cells(driver) === round + 1);
      }
      expect(driver.statements.size).toBe(1);
    }));

  test("another request of the same id is another one: clients of one manager count alike", () =>
    onStage(async ({ service, driver, open }) => {
      const [session, id] = [randomUUID(), randomUUID()];
      for (let round = 0; round < 2; round += 1) {
        const channels = await open({ session, query: { longwick: "1" } });
        channels.execute("twice", {}, { id, date: `2026-11-21T12:00:0${round}.000000Z` });
        await service.until(() => cells(driver) === round + 1);
      }
      expect(driver.statements.size).toBe(2);
    }));

  test("a foreign client is shown again, once and whole, what it may have missed", () =>
    onStage(async ({ service, driver, open }) => {
      const session = randomUUID();
      const first = await open({ session });
      const id = first.execute("loop");
      await service.until(() => cells(driver) === 1);
      run(driver, 0, ["a", "b"], false);
      await first.until("b is there", () => first.shown(id) === "ab");
      first.close();
      driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "c" });
      const second = await open({ session });
      driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
      await second.idle(id);
      expect(second.shown(id)).toBe("abc");
      expect(second.of(id).filter(({ type }) => type === "clear_output")).toHaveLength(1);
      expect(second.of(id).filter(({ type }) => type === "execute_reply")).toHaveLength(1);
    }));

  test("another client begins with what happens next", () =>
    onStage(async ({ service, driver, open }) => {
      const first = await open();
      const id = first.execute("loop");
      await service.until(() => cells(driver) === 1);
      run(driver, 0, ["a"], false);
      await first.until("a is there", () => first.shown(id) === "a");
      const other = await open();
      await other.until("the state is told", (received) => received.length > 0);
      expect(other.received[0]).toMatchObject({ type: "status", parent: id, content: { execution_state: "busy" } });
      driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "b" });
      driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
      await other.idle(id);
      expect(other.shown(id)).toBe("b");
      expect(other.of(id).map(({ type }) => type)).not.toContain("execute_reply");
    }));

  test("after another life of the supervisor what was open is told again, nothing else", () =>
    onStage(async ({ service, driver, open }) => {
      const channels = await open();
      const done = channels.execute("done");
      await service.until(() => cells(driver) === 1);
      run(driver, 0, ["done"]);
      await channels.idle(done);
      const openCell = channels.execute("open");
      await service.until(() => cells(driver) === 2);
      run(driver, 1, ["x"], false);
      await channels.until("x is there", () => channels.shown(openCell) === "x");
      driver.restart("epoch-2");
      driver.emit("error", { statement: 1, ename: "DriverLost", evalue: "gone", traceback: [] });
      driver.emit("finished", { statement: 1, outcome: "lost", rung: null });
      await channels.idle(openCell);
      expect(channels.shown(openCell)).toBe("x");
      expect(channels.of(openCell).find(({ type }) => type === "execute_reply")?.content).toMatchObject({
        status: "error",
        ename: "DriverLost",
      });
      expect(channels.of(done).filter(({ type }) => type === "stream")).toHaveLength(1);
    }));
});

test("who runs what where is audited, without the code; so is who was turned away", () =>
  onStage(async ({ service, driver, url, open }) => {
    const events: AuditEvent[] = [];
    const stop = onAudit((event) => events.push(event));
    try {
      const channels = await open();
      channels.execute("secret = 1");
      await service.until(() => cells(driver) === 1 && events.length === 1);
      await channels.idle(channels.send("control", "interrupt_request", {}));
      await Channels.refused(url, "any", { headers: { origin: "http://evil.example" } });
      const facts = events.map(({ action, session, statement, problem }) => [action, session, statement, problem]);
      expect(facts).toEqual([
        ["submit", 0, 0, null],
        ["interrupt", 0, null, null],
        ["refuse", null, null, "FORBIDDEN"],
      ]);
      expect(JSON.stringify(events)).not.toContain("secret");
    } finally {
      stop();
    }
  }));

describe("a kernel's channels behind a proxy", () => {
  const forwarded = {
    "x-forwarded-host": "spark.example:8443",
    "x-forwarded-proto": "https",
    "x-forwarded-for": "203.0.113.9",
    origin: "https://spark.example:8443",
  };

  test("one that is trusted says by what name and from where the page came", () =>
    onStage(
      async ({ driver, service, open }) => {
        const remotes: (string | null)[] = [];
        const stop = onAudit(({ action, remote }) => void (action === "submit" && remotes.push(remote)));
        try {
          const channels = await open({ headers: forwarded });
          channels.execute("1");
          await service.until(() => cells(driver) === 1 && remotes.length === 1);
          expect(remotes).toEqual(["203.0.113.9"]);
        } finally {
          stop();
        }
      },
      { http: { trustedProxies: ["127.0.0.1"], hostNames: ["spark.example"] } },
    ));

  test("nobody else does: the same page is refused", () =>
    onStage(
      async ({ url, kernel }) => {
        expect(await Channels.refused(url, kernel, { headers: forwarded })).toMatchObject({ status: 403 });
      },
      { http: { trustedProxies: ["10.0.0.1"], hostNames: ["spark.example"] } },
    ));

  test("the base path is theirs too", async () => {
    await using service = await Service.start({ http: { basePath: "/longwick" } });
    const created = await service.ask("POST", "/longwick/api/kernels", {});
    const { id } = created.body as { id: string };
    const root = await service.http.listen({ host: "127.0.0.1", port: 0 });
    const channels = await Channels.open(`${root}/longwick`, id);
    channels.close();
    expect(await Channels.refused(root, id)).toMatchObject({ status: 404 });
  });
});

describe("limits of a client", () => {
  const comm = { statement: 0, event: "msg", comm: "c", target: null, data: { n: 1 }, metadata: {}, buffers: ["AAEC"] };

  test("a notebook server's proxy is never sent a binary frame; others get the attachments", () =>
    onStage(async ({ service, driver, open }) => {
      const proxy = await open({ headers: { "user-agent": "Tornado/6.5" } });
      const [legacy, v1] = [await open(), await open({ v1: true })];
      proxy.execute("widget");
      await service.until(() => cells(driver) === 1);
      driver.emit("started", { statement: 0, count: 1 });
      driver.emit("comm", comm);
      for (const channels of [proxy, legacy, v1])
        await channels.until("the message", (received) => received.some(({ type }) => type === "comm_msg"));
      const of = (channels: Channels) => channels.received.find(({ type }) => type === "comm_msg");
      expect(of(proxy)).toMatchObject({ binary: false, buffers: [], content: { comm_id: "c", data: { n: 1 } } });
      expect(proxy.received.some(({ binary }) => binary)).toBe(false);
      expect([of(legacy)?.buffers, of(v1)?.buffers]).toEqual([[Buffer.from([0, 1, 2])], [Buffer.from([0, 1, 2])]]);
    }));

  test("one that does not read slows nobody and holds no more than its part of memory", () =>
    onStage(async ({ service, driver, open }) => {
      const [slow, quick] = [await open(), await open()];
      slow.socket.pause();
      const id = quick.execute("flood");
      await service.until(() => cells(driver) === 1);
      run(
        driver,
        0,
        Array.from({ length: 200 }, () => "x".repeat(100_000)),
      );
      await quick.idle(id);
      expect(quick.shown(id)).toHaveLength(20_000_000);
      // Nothing was lost for it either: it is only late.
      slow.socket.resume();
      await slow.idle(id);
      expect(slow.shown(id)).toHaveLength(20_000_000);
    }));

  test("a message over the limit closes its own socket alone", () =>
    onStage(async ({ open }) => {
      const [big, other] = [await open(), await open()];
      big.execute("x".repeat(5 * 1024 * 1024));
      await big.until("it is closed", () => big.closed !== null);
      expect(big.closed).toBe(1009);
      await other.idle(other.send("shell", "kernel_info_request", {}));
    }));

  test("a server that goes tells its clients to come back", () =>
    onStage(async ({ service, open }) => {
      const channels = await open();
      await service.http.close(1_000);
      await channels.until("it is closed", () => channels.closed !== null);
      expect(channels.closed).toBe(1012);
    }));
});

describe("while Spark starts", () => {
  test("the kernel answers, cells wait, and the waiting one says what for", async () => {
    await using service = await Service.start();
    service.launcher.listening = false;
    const { body } = await service.ask("POST", "/api/kernels");
    const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
    const channels = await Channels.open(url, (body as { id: string }).id);
    const info = await channels.idle(channels.send("shell", "kernel_info_request", {}));
    expect(info.find(({ type }) => type === "kernel_info_reply")?.content).toMatchObject({ status: "ok", implementation: "longwick" });
    const id = channels.execute("1");
    await channels.until("it says what it waits for", () => channels.of(id).some(({ type }) => type === "display_data"));
    expect(JSON.stringify(channels.of(id)[0]?.content)).toContain("Spark is starting");
    const driver = service.launcher.driver(0);
    comeUp(driver);
    await service.until(() => cells(driver) === 1);
    run(driver, 0, ["1"]);
    const messages = await channels.idle(id);
    expect(messages.filter(({ type }) => type === "display_data")).toHaveLength(1);
    await channels.until("it says how it went", () =>
      JSON.stringify(channels.of(id).map(({ content }) => content)).includes("Spark is ready"),
    );
    expect(messages.map(({ type }) => type)).not.toContain("clear_output");
    channels.close();
  });

  test("a cell of a driver that never came says why, and the kernel is dead", async () => {
    await using service = await Service.start();
    service.launcher.listening = false;
    const { body } = await service.ask("POST", "/api/kernels");
    const { id: kernel } = body as { id: string };
    const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
    const channels = await Channels.open(url, kernel);
    const id = channels.execute("1");
    await service.ask("POST", "/sessions/0/stop");
    const messages = await channels.idle(id);
    const reply = messages.find(({ type }) => type === "execute_reply");
    expect(reply?.content).toMatchObject({ status: "error", ename: "SparkDriverEnded", evalue: expect.stringContaining("it was stopped") });
    await channels.until("the kernel is dead", (received) => received.some(({ content }) => content["execution_state"] === "dead"));
    expect((await service.ask("GET", `/api/kernels/${kernel}`)).status).toBe(404);
    channels.close();
  });
});

test("progress and kernel_info lead to Spark's UI through the server, as the client calls it; to the driver's own where a browser knows no server", () =>
  onStage(async ({ service, driver, url, open }) => {
    const [through, own] = [await open(), await open({ query: { longwick: "1", reach: "driver" } })];
    const id = through.execute("spark.range(9).count()");
    await service.until(() => cells(driver) === 1);
    driver.emit("started", { statement: 0, count: 1 });
    const stages = [{ stage: 0, name: "count", tasks: 8, active: 1, completed: 2, failed: 0 }];
    driver.emit("progress", { statement: 0, fraction: 0.2, jobs: [{ job: 0, status: "running", stages }], atMs: Date.now() + 5_000 });
    driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
    for (const [client, address] of [
      [through, `${url}/sessions/0/ui/`],
      [own, "http://localhost:4040"],
    ] as const) {
      const shown = (await client.idle(id)).filter(({ type }) => type.endsWith("display_data"));
      expect(shown.map(({ content }) => /href="([^"]+)"/.exec(JSON.stringify(content).replaceAll("\\", ""))?.[1])).toEqual([
        address,
        address,
      ]);
      const info = (await client.idle(client.send("shell", "kernel_info_request", {}))).find(({ type }) => type === "kernel_info_reply");
      expect(info?.content["help_links"]).toContainEqual({ text: "Spark UI", url: address });
    }
  }));
