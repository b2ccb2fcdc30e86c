import { describe, expect, test } from "vitest";
import type { Claim, DriverLink, Launcher, SessionEnd } from "../../src/core/ports.ts";
import { Session } from "../../src/core/session.ts";
import { NO_SPEC } from "../../src/core/spec.ts";
import type { RecordFrame } from "../../src/protocol/frames.ts";
import { until } from "../kit/until.ts";

const soon = () => AbortSignal.timeout(5_000);
const ENDED: Claim = {
  ...{ id: 4, uid: "u", owner: null, spec: NO_SPEC, createdMs: 0, notes: [], attempts: [] },
  end: { state: "dead", reason: "it crashed", logTail: ["last"], endedMs: 99, appId: "app-1" },
};

/** A session that had ended before its server began, and how often its records were read. */
const sessionOf = (records: () => AsyncIterable<readonly RecordFrame[]>) => {
  let reads = 0;
  const launcher = {
    records: () => {
      reads += 1;
      return records();
    },
  } as Partial<Launcher> as Launcher;
  const never = () => {
    throw new Error("nobody dials a driver that has gone");
  };
  const session = new Session(ENDED, {
    launcher,
    openLink: never,
    clock: { now: () => 0 },
    startWaitMs: 100,
    stopGraceMs: 100,
    uploads: null,
  });
  session.start();
  return { session, reads: () => reads };
};

const recordsOf = (length: number): RecordFrame[] => {
  const records: Omit<RecordFrame, "seq">[] = [];
  for (const [statement, key] of ["a", "b"].entries()) {
    const about = { frame: "record", atMs: 10, statement } as const;
    records.push({ ...about, type: "queued", key, code: "1", kind: "pyspark", origin: null, silent: false } as Omit<RecordFrame, "seq">);
    records.push({ ...about, type: "started" } as Omit<RecordFrame, "seq">);
    const text = key.repeat(length);
    records.push({ ...about, type: "stream", name: "stdout", via: "python", text } as Omit<RecordFrame, "seq">);
    if (statement === 0) records.push({ ...about, type: "finished", outcome: "ok", rung: null } as Omit<RecordFrame, "seq">);
  }
  return records.map((record, index) => ({ ...record, seq: index + 1 }) as RecordFrame);
};

describe("a session that had ended before its server began", () => {
  test("shows its statements from what its launcher has kept, read once; what ran then is lost", async () => {
    const { session, reads } = sessionOf(async function* () {
      const records = recordsOf(3);
      yield records.slice(0, 2);
      yield records.slice(2);
    });
    expect(reads()).toBe(0);
    const [statements, again] = await Promise.all([session.statements(soon()), session.statements(soon())]);
    expect(again).toEqual(statements);
    expect(statements.map(({ id, state, outcome, finishedMs }) => [id, state, outcome, finishedMs])).toEqual([
      [0, "available", "ok", 10],
      [1, "available", "lost", 99],
    ]);
    expect((await session.statement(0, soon())).outputs).toMatchObject([{ text: "aaa" }]);
    expect((await session.statement(1, soon())).outputs).toMatchObject([
      { text: "bbb" },
      { ename: "DriverLost", evalue: "Session 4 has ended: it crashed" },
    ]);
    await expect(session.statement(2, soon())).rejects.toMatchObject({ code: "STATEMENT_NOT_FOUND" });
    await session.settled(1, 1_000, soon());
    expect([reads(), session.state, session.logTail(9)]).toEqual([1, "dead", ["last", "Session ended (dead): it crashed"]]);
  });

  test("reads outputs again that are too long to be held", async () => {
    const { session, reads } = sessionOf(async function* () {
      yield recordsOf(5_000_000);
    });
    expect((await session.statements(soon())).map(({ whole }) => whole)).toEqual([false, true]);
    const { outputs, whole, state } = await session.statement(0, soon());
    expect([whole, state, outputs[0]?.type === "stream" && outputs[0].text.length]).toEqual([true, "available", 5_000_000]);
    expect(reads()).toBe(2);
  });

  test("shows what can be read when not all can", async () => {
    const { session } = sessionOf(async function* () {
      yield recordsOf(1).slice(0, 3);
      throw new Error("EIO");
    });
    expect((await session.statements(soon())).map(({ state, outcome }) => [state, outcome])).toEqual([["available", "lost"]]);
  });

  test("has its journal read once for all statements that were let go, however many are asked for", async () => {
    const about = { frame: "record", atMs: 10 } as const;
    const records = Array.from({ length: 4 }, (_, statement) => [
      { ...about, statement, type: "queued", key: String(statement), code: "1", kind: "pyspark", origin: null, silent: false },
      { ...about, statement, type: "stream", name: "stdout", via: "python", text: String(statement).repeat(2_000_000) },
      { ...about, statement, type: "finished", outcome: "ok", rung: null },
    ])
      .flat()
      .map((record, index) => ({ ...record, seq: index + 1 }) as RecordFrame);
    const { session, reads } = sessionOf(async function* () {
      yield records;
    });
    const known = await session.statements(soon());
    expect(known.map(({ whole }) => whole)).toEqual([false, false, true, true]);
    const whole = await session.whole([...known].reverse(), soon());
    expect(whole.map(({ id, whole, outputs }) => [id, whole, outputs[0]?.type === "stream" && outputs[0].text.slice(0, 2)])).toEqual([
      [3, true, "33"],
      [2, true, "22"],
      [1, true, "11"],
      [0, true, "00"],
    ]);
    expect(reads()).toBe(2);
    await expect(session.whole(known, AbortSignal.abort(new Error("left")))).rejects.toThrow("left");
  });
});

test("a driver whose words cannot be followed leaves its session in error, to be ended, and the server where it is", async () => {
  let closed = false;
  const ended = Promise.withResolvers<void>();
  const launcher = {
    launch: () => ({
      ...{ phase: { phase: "running" }, mute: null, key: new Uint8Array(), seal: new Uint8Array() },
      dial: () => Promise.reject(new Error("nobody dials it")),
      async *phases() {
        yield { phase: "running" } as const;
        await ended.promise;
        yield { phase: "ended", state: "dead", reason: "", logTail: [] } as const;
      },
      stop: async () => ended.resolve(),
    }),
    conclude: async (_claim: Claim, end: SessionEnd) => end,
  } as Partial<Launcher> as Launcher;
  const link: DriverLink = {
    up: false,
    // biome-ignore lint/correctness/useYield: it breaks before its first event
    async *events() {
      throw new RangeError("a fault");
    },
    request: () => Promise.reject(new Error("nobody asks it")),
    forward: () => Promise.reject(new Error("nobody joins it")),
    close: async () => {
      closed = true;
    },
  };
  const parts = { launcher, openLink: () => link, clock: { now: () => 7 }, startWaitMs: 100, stopGraceMs: 100, uploads: null };
  const session = new Session({ ...ENDED, end: null }, parts);
  session.start();
  await until("it is in error", 5_000, () => (session.state === "error" ? true : undefined), 1);
  expect([session.logTail(1), closed]).toEqual([["The driver cannot be spoken to: what it says cannot be followed: a fault"], true]);
  await session.stop("killed", "it was deleted");
  expect(session.end).toMatchObject({ state: "killed" });
});
