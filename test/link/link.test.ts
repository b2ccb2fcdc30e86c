import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { DriverLink, LinkEvent, LinkOptions } from "../../src/core/ports.ts";
import { type LinkTuning, openLink } from "../../src/link/link.ts";
import { FRAME_LIMIT_BYTES, PROTOCOL_VERSIONS, type RecordFrame } from "../../src/protocol/frames.ts";
import { FakeDriver } from "../kit/fake-driver.ts";
import { seeded } from "../kit/random.ts";

const QUICK: Partial<LinkTuning> = { firstPauseMs: 1, pauseLimitMs: 5, handshakeMs: 2_000, lastWordsMs: 100 };
const open: DriverLink[] = [];

afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(open.splice(0).map((link) => link.close()));
});

/** A link to the driver and what happened on it so far. */
const follow = (driver: FakeDriver, tuning: Partial<LinkTuning> = {}, other: Partial<LinkOptions> = {}) => {
  const link = openLink({ session: driver.session, key: driver.key, dial: driver.dial, ...other }, { ...QUICK, ...tuning });
  open.push(link);
  const events: LinkEvent[] = [];
  const ended = (async () => {
    for await (const event of link.events()) events.push(event);
  })();
  const types = () => events.map((event) => event.type);
  const records = (): readonly RecordFrame[] => events.flatMap((event) => (event.type === "records" ? event.records : []));
  return { link, events, ended, types, records, seqs: () => records().map((record) => record.seq) };
};

const upLink = async (driver: FakeDriver, tuning: Partial<LinkTuning> = {}) => {
  const followed = follow(driver, tuning);
  await expect.poll(() => followed.types()).toContain("reset");
  return followed;
};

/** From here on the clock stands, and goes on in `pass` alone. */
const holdClock = (): void => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
/** What was written before arrives before the time has passed, as it does where a link is quick. */
const pass = async (ms: number): Promise<void> => {
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate);
  await vi.advanceTimersByTimeAsync(ms);
};

const signal = () => AbortSignal.timeout(5_000);
const submission = (key: string, code = "1+1") => ({
  key,
  code,
  kind: "pyspark" as const,
  origin: null,
  stopOnError: false,
  silent: false,
  stdin: false,
});

describe("attaching", () => {
  test("a first attach resets, then the records come, one event a read", async () => {
    const driver = new FakeDriver();
    for (const line of ["a", "b", "c"]) driver.log(line);
    const { events, records } = follow(driver);
    await expect.poll(() => records().length).toBe(3);
    expect(events.map((event) => event.type)).toEqual(["up", "reset", "records"]);
    expect(events[1]).toMatchObject({ type: "reset", firstSeq: 1, snapshot: driver.snapshot });
    expect(driver.requests[0]).toMatchObject({ frame: "attach", epoch: null, afterSeq: 0 });
  });

  test("after a cut it goes on where it was: nothing missing, nothing twice", async () => {
    const random = seeded(3);
    const driver = new FakeDriver();
    const { seqs, types } = await upLink(driver);
    for (let number = 1; number <= 2_000; number++) {
      driver.log(`line ${number}`);
      if (random.below(100) === 0) driver.cut();
      if (random.below(20) === 0) await new Promise(setImmediate);
    }
    await expect.poll(() => seqs().length, { timeout: 5_000 }).toBe(2_000);
    expect(seqs()).toEqual(Array.from({ length: 2_000 }, (_, index) => index + 1));
    expect(types().filter((type) => type === "reset")).toHaveLength(1);
    expect(types()).toContain("down");
  });

  test("another epoch resets, with records from its first one", async () => {
    const driver = new FakeDriver();
    for (const line of ["a", "b", "c"]) driver.log(line);
    const { events, seqs } = follow(driver);
    await expect.poll(() => seqs().length).toBe(3);
    driver.restart("epoch-2", 3);
    driver.log("d");
    await expect.poll(seqs).toEqual([1, 2, 3, 3, 4]);
    expect(events.filter((event) => event.type === "reset").map((event) => event.firstSeq)).toEqual([1, 3]);
    expect(driver.requests.at(-1)).toMatchObject({ frame: "attach", epoch: "epoch-1", afterSeq: 3 });
  });

  test("records the driver no longer keeps mean a reset in the same epoch", async () => {
    const driver = new FakeDriver();
    driver.log("a");
    const { events, seqs } = follow(driver);
    await expect.poll(() => seqs().length).toBe(1);
    driver.listening = false;
    driver.cut();
    for (const line of ["b", "c", "d"]) driver.log(line);
    driver.restart("epoch-1", 4);
    driver.listening = true;
    await expect.poll(seqs).toEqual([1, 4]);
    expect(events.filter((event) => event.type === "reset")).toHaveLength(2);
  });

  test("dials until somebody listens", async () => {
    const driver = new FakeDriver();
    driver.listening = false;
    const { link, types } = follow(driver);
    await expect.poll(() => driver.dials).toBeGreaterThan(3);
    expect(link.up).toBe(false);
    // However often it was tried, for one reason.
    expect(types()).toEqual(["down"]);
    driver.listening = true;
    await expect.poll(() => link.up).toBe(true);
  });

  test("record types of a later version are passed over, gaps in the numbers too", async () => {
    const driver = new FakeDriver();
    const { seqs } = await upLink(driver);
    driver.emit("hologram", { whatever: 1 });
    driver.emit("log", { line: 0, lines: ["x"], later: true });
    driver.connection.send({ frame: "record", seq: 9, atMs: 0, type: "log", line: 1, lines: [] }, "bulk");
    driver.connection.send({ frame: "gossip" });
    await expect.poll(seqs).toEqual([2, 9]);
  });
});

describe("the proof", () => {
  test("a wrong key is refused after three tries, and requests say so", async () => {
    const driver = new FakeDriver();
    const { link, events, ended } = follow(driver, {}, { key: randomBytes(32) });
    const waiting = link.request("interrupt", {}, signal());
    await expect(waiting).rejects.toMatchObject({ code: "DRIVER_UNREACHABLE" });
    await ended;
    expect(driver.dials).toBe(3);
    const reason = expect.stringContaining("wrong proof");
    expect(events).toEqual([
      { type: "down", reason },
      { type: "refused", reason },
    ]);
    await expect(link.request("interrupt", {}, signal())).rejects.toThrow(/wrong proof/);
  });

  test("a driver that cannot prove itself gets no request", async () => {
    const driver = new FakeDriver();
    const impostor = new FakeDriver();
    // Knows the protocol and the session, not the key: its hello echoes the server's own proof.
    const dial = async (abort: AbortSignal) => {
      const duplex = await impostor.dial(abort);
      const { connection } = impostor;
      const hello = { frame: "hello", version: 1, session: driver.session, epoch: "e", firstSeq: 1, lastSeq: 0 };
      connection.channel.receive({
        frames: ([prove]) => {
          connection.prove = prove ?? null;
          connection.send({ ...hello, proof: prove?.["proof"] });
        },
        ended: () => undefined,
      });
      return duplex;
    };
    const { events, ended } = follow(driver, {}, { dial });
    await ended;
    expect(events.at(-1)).toEqual({ type: "refused", reason: expect.stringContaining("does not know the session's key") });
    expect(impostor.requests).toEqual([]);
  });

  test("no common version is final at once, and both sets are named", async () => {
    const driver = new FakeDriver();
    driver.versions = [97, 98];
    const { events, ended } = follow(driver);
    await ended;
    expect(driver.dials).toBe(1);
    expect(events).toEqual([
      { type: "refused", reason: `the driver speaks protocol version 97, 98, this server ${PROTOCOL_VERSIONS.join(", ")}` },
    ]);
  });

  test("the highest common version is spoken", async () => {
    const driver = new FakeDriver();
    driver.versions = [...PROTOCOL_VERSIONS, 99];
    await upLink(driver);
    expect(driver.connection.prove).toMatchObject({ version: Math.max(...PROTOCOL_VERSIONS), session: driver.session });
  });

  test.each([
    ["a line of 5,000 bytes", `{"frame":"challenge","versions":[1],"nonce":"${"x".repeat(5_000)}"}\n`],
    ["HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n"],
    ["a short nonce", '{"frame":"challenge","versions":[1],"nonce":"abc"}\n'],
    ["a record", '{"frame":"record","seq":1,"atMs":0,"type":"log","line":0,"lines":[]}\n'],
  ])("before the proof %s breaks the connection; three such and the link is refused", async (_what, bytes) => {
    const driver = new FakeDriver();
    driver.silent = true;
    const dial = async (abort: AbortSignal) => {
      const duplex = await driver.dial(abort);
      driver.connection.raw(bytes);
      return duplex;
    };
    const { events, ended } = follow(driver, {}, { dial });
    await ended;
    expect(driver.dials).toBe(3);
    expect(events.map((event) => event.type)).toEqual(["down", "refused"]);
  });

  test("a driver that says nothing is dialled again after the handshake's time", async () => {
    const driver = new FakeDriver();
    driver.silent = true;
    const { types } = follow(driver, { handshakeMs: 20 });
    await expect.poll(() => driver.dials).toBeGreaterThan(4);
    expect(types()).toEqual(["down"]);
    driver.silent = false;
    await expect.poll(types).toContain("reset");
  });
});

describe("requests", () => {
  test("wait for the link, and are sent in order once it is up", async () => {
    const driver = new FakeDriver();
    driver.listening = false;
    const { link } = follow(driver);
    const ids = Promise.all(["a", "b", "c"].map((key) => link.request("submit", submission(key), signal())));
    await expect.poll(() => driver.dials).toBeGreaterThan(1);
    driver.listening = true;
    expect(await ids).toEqual([{ statement: 0 }, { statement: 1 }, { statement: 2 }]);
    expect(driver.requests.map((request) => request["key"] ?? request.frame)).toEqual(["attach", "a", "b", "c"]);
  });

  test("a submit whose answer was lost is sent again under its key and runs once", async () => {
    const driver = new FakeDriver();
    const { link } = await upLink(driver);
    driver.on("submit", (request) => {
      driver.statements.set(String(request["key"]), 0);
      driver.on("submit", () => ({ result: { statement: driver.statements.get("once") } }));
      driver.cut();
      return null;
    });
    expect(await link.request("submit", submission("once"), signal())).toEqual({ statement: 0 });
    expect(driver.requests.filter((request) => request.frame === "submit").map((request) => request["key"])).toEqual(["once", "once"]);
    expect(driver.statements.size).toBe(1);
  });

  test.each(["cancel", "interrupt", "answer", "restart"] as const)("%s is not repeated after a loss", async (name) => {
    const driver = new FakeDriver();
    const { link } = await upLink(driver);
    driver.on(name, () => {
      driver.cut();
      return null;
    });
    const body = { statement: 0, restart: false, value: "" };
    await expect(link.request(name, body, signal())).rejects.toMatchObject({ code: "DRIVER_UNREACHABLE" });
    await expect.poll(() => link.up).toBe(true);
    await link.request("touch", { client: "x" }, signal());
    expect(driver.requests.filter((request) => request.frame === name)).toHaveLength(1);
  });

  test.each([
    ["invalid", "INVALID"],
    ["full", "TOO_MANY_STATEMENTS"],
    ["gone", "STATEMENT_NOT_FOUND"],
    ["ending", "SESSION_ENDED"],
    ["internal", "DRIVER_UNREACHABLE"],
    ["later-word", "DRIVER_UNREACHABLE"],
  ])("a failure `%s` is the Problem %s", async (code, problem) => {
    const driver = new FakeDriver();
    const { link } = await upLink(driver);
    driver.on("submit", () => ({ code, message: "because" }));
    await expect(link.request("submit", submission("k"), signal())).rejects.toMatchObject({ code: problem, message: "because" });
  });

  test("a caller who leaves stops waiting; what was not sent yet is never sent", async () => {
    const driver = new FakeDriver();
    driver.listening = false;
    const { link } = follow(driver);
    const leaving = new AbortController();
    const left = link.request("submit", submission("left"), leaving.signal);
    leaving.abort(new Error("gone home"));
    await expect(left).rejects.toThrow("gone home");
    driver.listening = true;
    await link.request("touch", { client: "x" }, signal());
    expect(driver.requests.map((request) => request.frame)).toEqual(["attach", "touch"]);
  });

  test("8 MiB of code arrive whole, and a cancel made meanwhile overtakes them", async () => {
    const driver = new FakeDriver();
    const { link } = await upLink(driver);
    const code = 'print("漢")\n'.repeat(700_000);
    const submitted = link.request("submit", submission("big", code), signal());
    await link.request("cancel", { statement: 0, restart: false }, signal());
    expect(driver.statements.size).toBe(0);
    await submitted;
    expect(driver.requests.at(-1)?.["code"] === code).toBe(true);
  });

  test("what no driver would take is refused before it is sent", async () => {
    const driver = new FakeDriver();
    const { link } = await upLink(driver);
    await expect(link.request("submit", submission("k", "x".repeat(FRAME_LIMIT_BYTES)), signal())).rejects.toMatchObject({
      code: "TOO_LARGE",
    });
    expect(await link.request("submit", submission("small"), signal())).toEqual({ statement: 0 });
  });

  test("what waits for a lost driver is bounded", async () => {
    const driver = new FakeDriver();
    driver.listening = false;
    const { link } = follow(driver, { requestsLimitChars: 1_000_000 });
    const leaving = new AbortController();
    const ask = () => link.request("submit", submission("k", "x".repeat(300_000)), leaving.signal);
    const waiting = Promise.allSettled([ask(), ask(), ask()]);
    await expect(ask()).rejects.toMatchObject({ code: "TOO_MANY_STATEMENTS" });
    leaving.abort(new Error("left"));
    expect(await waiting).toMatchObject(Array(3).fill({ status: "rejected", reason: { message: "left" } }));
  });
});

describe("a connection that lives and does not", () => {
  test.each([[[1]], [[1, 2]]])("an idle one of versions %j is pinged and kept", async (versions) => {
    const driver = new FakeDriver();
    driver.versions = versions;
    const { link, types } = await upLink(driver, { quietMs: 15, answerMs: 60_000 });
    await expect.poll(() => driver.pings).toBeGreaterThan(4);
    expect(link.up).toBe(true);
    expect(types()).toEqual(["up", "reset"]);
    expect(driver.requests.some((request) => request.frame === "touch")).toBe(false);
  });

  test("a request that the driver's version lacks is refused, and nothing is sent", async () => {
    const driver = new FakeDriver();
    driver.versions = [1];
    const { link } = await upLink(driver);
    const upload = link.request("upload", { upload: "u", name: "x", offset: 0, data: "", last: true }, AbortSignal.timeout(1_000));
    await expect(upload).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    expect(driver.requests.some((request) => request.frame === "upload")).toBe(false);
  });

  test("a half-open one is found, given up and dialled anew; the request on it gets its answer", async () => {
    const driver = new FakeDriver();
    const { link, events } = await upLink(driver, { quietMs: 60_000, waitingQuietMs: 20, answerMs: 40, handshakeMs: 40 });
    driver.silent = true;
    const answer = link.request("submit", submission("through"), signal());
    // Attempts that fail while it stays silent tell their own reasons.
    await expect.poll(() => events).toContainEqual({ type: "down", reason: expect.stringContaining("does not answer") });
    driver.silent = false;
    expect(await answer).toEqual({ statement: 0 });
  });

  test("one that never answers in the middle of a large record lives as long as bytes come", async () => {
    holdClock();
    const driver = new FakeDriver();
    const { link, types } = await upLink(driver, { quietMs: 20, answerMs: 200 });
    driver.on("ping", () => null);
    const line = JSON.stringify({ frame: "record", seq: 1, atMs: 0, type: "log", line: 0, lines: ["x".repeat(2_000)] });
    for (let from = 0; from < line.length; from += 100) {
      driver.connection.raw(line.slice(from, from + 100));
      await pass(150);
    }
    driver.connection.raw("\n");
    await expect.poll(types).toContain("records");
    expect(types()).not.toContain("down");
    expect(link.up).toBe(true);
  });
});

describe("a driver that breaks the protocol", () => {
  test.each([
    ["a line that is not JSON", "print('hello')\n"],
    ["a malformed known record", '{"frame":"record","seq":1,"atMs":0,"type":"started","statement":"one"}\n'],
    ["a record without a number", '{"frame":"record","type":"log"}\n'],
    ["a reply without a request", '{"frame":"reply","result":{}}\n'],
  ])("%s cuts the connection; three in a row without a new record refuse the link", async (_what, bytes) => {
    const driver = new FakeDriver();
    const { types, ended, link } = await upLink(driver);
    driver.on("attach", (_request, connection) => {
      setImmediate(() => connection.raw(bytes));
      return { result: { mode: "replay", snapshot: null } };
    });
    driver.connection.raw(bytes);
    await ended;
    expect(types().slice(2)).toEqual(["down", "up", "down", "up", "down", "refused"]);
    expect(link.up).toBe(false);
  });

  test("records before a broken one count: they are delivered, once", async () => {
    const driver = new FakeDriver();
    const { seqs, types } = await upLink(driver);
    const good = JSON.stringify({ frame: "record", seq: 1, atMs: 0, type: "log", line: 0, lines: ["a"] });
    driver.connection.raw(`${good}\n{"frame":"record","seq":2,"type":"log","atMs":0}\n`);
    driver.log("a");
    driver.log("b");
    await expect.poll(seqs).toEqual([1, 2]);
    expect(types()).toContain("down");
  });

  test("a reply that does not fit its request cuts the connection and is asked for again", async () => {
    const driver = new FakeDriver();
    const { link } = await upLink(driver);
    driver.on("submit", () => {
      driver.on("submit", () => ({ result: { statement: 4 } }));
      return { result: { statement: "four" } };
    });
    expect(await link.request("submit", submission("k"), signal())).toEqual({ statement: 4 });
  });
});

describe("a slow core", () => {
  test("stops the reading at the bound and loses nothing", async () => {
    holdClock();
    const driver = new FakeDriver();
    const link = openLink(
      { session: driver.session, key: driver.key, dial: driver.dial },
      { ...QUICK, eventsLimitBytes: 100_000, quietMs: 10, answerMs: 10 },
    );
    open.push(link);
    const events = link.events()[Symbol.asyncIterator]();
    await events.next();
    const line = "x".repeat(10_000);
    for (let number = 0; number < 200; number++) driver.log(line);
    // Deaf for several times what finds a half-open connection: silence is ours then.
    for (let round = 0; round < 10; round++) await pass(10);
    const seqs: number[] = [];
    while (seqs.length < 200) {
      const { value } = await events.next();
      if (value?.type === "records") seqs.push(...value.records.map((record: RecordFrame) => record.seq));
      expect(value?.type).not.toBe("down");
    }
    expect(seqs).toEqual(Array.from({ length: 200 }, (_, index) => index + 1));
  });

  test("holds what it was sent within the bound, however small the pieces that it came in", async () => {
    const [limitBytes, line] = [1_000_000, "x".repeat(64_000)];
    const driver = new FakeDriver();
    let passedBytes = 0;
    let connection: Duplex | undefined;
    // As TLS hands on what was written: no more than a record of its own at once.
    const inPieces = async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks)
        for (let at = 0; at < chunk.length; at += 16_384) {
          const piece = chunk.subarray(at, at + 16_384);
          passedBytes += piece.length;
          yield piece;
        }
    };
    const dial = async (asked: AbortSignal) => {
      connection = (await driver.dial(asked)).compose(inPieces) as Duplex;
      return connection;
    };
    const link = openLink({ session: driver.session, key: driver.key, dial }, { ...QUICK, eventsLimitBytes: limitBytes });
    open.push(link);
    const events = link.events()[Symbol.asyncIterator]();
    await events.next();
    for (let number = 0; number < 200; number++) driver.log(line);
    await expect.poll(() => connection?.isPaused(), { timeout: 5_000 }).toBe(true);
    expect(passedBytes).toBeLessThan(2 * limitBytes);
    let seen = 0;
    while (seen < 200) {
      const { value } = await events.next();
      if (value?.type === "records") seen += value.records.length;
    }
  });

  test("is not read for on the next connection either", async () => {
    const driver = new FakeDriver();
    const dialled: Duplex[] = [];
    const dial = async (asked: AbortSignal) => {
      const duplex = await driver.dial(asked);
      dialled.push(duplex);
      return duplex;
    };
    const link = openLink({ session: driver.session, key: driver.key, dial }, { ...QUICK, eventsLimitBytes: 100_000 });
    open.push(link);
    const events = link.events()[Symbol.asyncIterator]();
    await events.next();
    for (let number = 0; number < 200; number++) driver.log("x".repeat(10_000));
    const attached = (times: number) => expect.poll(() => driver.requests.filter(({ frame }) => frame === "attach").length).toBe(times);
    await attached(1);
    await expect.poll(() => dialled[0]?.isPaused()).toBe(true);
    // As a reset does; a connection's proper end stands behind what was not read.
    dialled[0]?.destroy();
    await attached(2);
    expect(dialled[1]?.isPaused()).toBe(true);
    const seqs: number[] = [];
    while (seqs.length < 200) {
      const { value } = await events.next();
      if (value?.type === "records") seqs.push(...value.records.map((record: RecordFrame) => record.seq));
    }
    expect(seqs).toEqual(Array.from({ length: 200 }, (_, index) => index + 1));
  });
});

describe("closing", () => {
  test("is idempotent, ends the events, rejects what waits and hangs up", async () => {
    const driver = new FakeDriver();
    const { link, ended } = await upLink(driver);
    driver.on("submit", () => null);
    const waiting = link.request("submit", submission("k"), signal());
    const { connection } = driver;
    const closed = Promise.all([link.close(), link.close()]);
    await expect(waiting).rejects.toMatchObject({ code: "DRIVER_UNREACHABLE" });
    await closed;
    await ended;
    await expect.poll(() => connection.closed).toBe(true);
    await expect(link.request("touch", { client: "x" }, signal())).rejects.toMatchObject({ code: "DRIVER_UNREACHABLE" });
  });

  test("delivers what the driver had sent before", async () => {
    const driver = new FakeDriver();
    const { link, ended, records } = await upLink(driver);
    driver.emit("ending", { state: "dead", reason: "idle for too long" });
    await link.close();
    await ended;
    expect(records().map((record) => record.type)).toEqual(["ending"]);
  });

  test("ends a dial, a handshake and a pause that are under way", async () => {
    const dialling = openLink({
      session: "s",
      key: randomBytes(32),
      dial: (abort) => new Promise((_, reject) => abort.addEventListener("abort", () => reject(abort.reason))),
    });
    const shaking = new FakeDriver();
    shaking.silent = true;
    const pausing = new FakeDriver();
    pausing.listening = false;
    const links = [dialling, follow(shaking).link, follow(pausing, { firstPauseMs: 60_000, pauseLimitMs: 60_000 }).link];
    await expect.poll(() => shaking.dials + pausing.dials).toBe(2);
    await Promise.all(links.map((link) => link.close()));
  });
});
