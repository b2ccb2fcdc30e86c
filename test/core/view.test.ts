import { describe, test } from "vitest";
import { View } from "../../src/core/view.ts";
import type { RecordFrame } from "../../src/protocol/frames.ts";

/** A record without what every record has; `seq` and `atMs` are given by `story`. */
type Told = { [Type in RecordFrame["type"]]: Omit<RecordFrame<Type>, "frame" | "seq" | "atMs"> }[RecordFrame["type"]];

const story = (view: View) => {
  let seq = view.lastSeq;
  return (...told: Told[]) => {
    for (const record of told) {
      seq += 1;
      view.apply({ ...record, frame: "record", seq, atMs: 1_000 + seq } as RecordFrame);
    }
  };
};

const queued = (statement: number, code = "1"): Told => ({
  ...{ type: "queued", statement, key: `k${statement}`, code, kind: "pyspark", origin: null, silent: statement < 0 },
});
const out = (statement: number, text: string): Told => ({ type: "stream", statement, name: "stdout", via: "python", text });
const finished = (statement: number, outcome: "ok" | "error" | "cancelled" = "ok"): Told => ({
  type: "finished",
  statement,
  outcome,
  rung: null,
});

describe("the view", () => {
  test("tells a statement's life from its records", ({ expect }) => {
    const view = new View();
    const tell = story(view);
    tell(queued(0));
    expect(view.statement(0)).toMatchObject({ state: "waiting", queuedMs: 1_001, startedMs: 0 });
    tell({ type: "started", statement: 0 }, out(0, "a"), out(0, "b"));
    expect(view.statement(0)).toMatchObject({ state: "running", startedMs: 1_002, progress: 0 });
    expect(view.openStatements).toBe(1);
    tell({ type: "result", statement: 0, data: { "text/plain": "2" }, metadata: {} }, finished(0));
    expect(view.statement(0)).toMatchObject({ state: "available", outcome: "ok", progress: 1, finishedMs: 1_006 });
    expect(view.statement(0)?.outputs).toEqual([
      { type: "stream", name: "stdout", via: "python", text: "ab" },
      { type: "result", data: { "text/plain": "2" }, metadata: {} },
    ]);
    expect(view.openStatements).toBe(0);
  });

  test("takes a record once, however often it comes", ({ expect }) => {
    const view = new View();
    story(view)(queued(0), out(0, "a"));
    view.apply({ frame: "record", seq: 2, atMs: 1, type: "stream", statement: 0, name: "stdout", via: "python", text: "a" });
    expect(view.statement(0)?.outputs).toEqual([{ type: "stream", name: "stdout", via: "python", text: "a" }]);
  });

  test("never lets progress fall", ({ expect }) => {
    const view = new View();
    story(view)(
      queued(0),
      { type: "progress", statement: 0, fraction: 0.5, jobs: [] },
      { type: "progress", statement: 0, fraction: 0.2, jobs: [] },
    );
    expect(view.statement(0)?.progress).toBe(0.5);
  });

  test("lists no silent statement but counts it as open", ({ expect }) => {
    const view = new View();
    story(view)(queued(-1), queued(0));
    expect(view.statements().map(({ id }) => id)).toEqual([0]);
    expect(view.openStatements).toBe(2);
  });

  test("updates a display wherever it was shown", ({ expect }) => {
    const view = new View();
    const show = (statement: number, text: string, update: boolean): Told => ({
      ...{ type: "display", statement, data: { "text/plain": text }, metadata: {}, displayId: "d", update },
    });
    story(view)(queued(0), show(0, "old", false), finished(0), queued(1), show(1, "new", true));
    expect(view.statement(0)?.outputs).toMatchObject([{ data: { "text/plain": "new" } }]);
    expect(view.statement(1)?.outputs).toEqual([]);
  });

  test("clears at once, or when the next output comes", ({ expect }) => {
    const view = new View();
    const tell = story(view);
    tell(queued(0), out(0, "a"), { type: "clear", statement: 0, wait: true });
    expect(view.statement(0)?.outputs).toHaveLength(1);
    tell(out(0, "b"));
    expect(view.statement(0)?.outputs).toMatchObject([{ text: "b" }]);
    tell({ type: "clear", statement: 0, wait: false });
    expect(view.statement(0)?.outputs).toEqual([]);
  });

  test("lets go of the oldest final outputs beyond its bound and keeps the open and the newest", ({ expect }) => {
    const view = new View({ bytes: 1_000, statements: 100, logLines: 10 });
    const tell = story(view);
    tell(queued(0), out(0, "x".repeat(600)));
    tell(queued(1), out(1, "y".repeat(300)), finished(1));
    tell(queued(2), out(2, "z".repeat(2_000)), finished(2));
    expect(view.statement(0)).toMatchObject({ whole: true, state: "waiting" });
    expect(view.statement(1)).toMatchObject({ whole: false, outputs: [], outcome: "ok" });
    expect(view.statement(2)?.outputs).toMatchObject([{ text: "z".repeat(2_000) }]);
  });

  test("forgets the oldest statements beyond its count", ({ expect }) => {
    const view = new View({ bytes: 1_000_000, statements: 8, logLines: 10 });
    const tell = story(view);
    for (let id = 0; id < 20; id += 1) tell(queued(id), finished(id));
    expect(view.statements().length).toBeLessThanOrEqual(8);
    expect(view.statements().at(-1)?.id).toBe(19);
  });

  test("ends what is open as lost when the driver is gone", ({ expect }) => {
    const view = new View();
    story(view)(queued(0), { type: "started", statement: 0 }, queued(1));
    view.lose("OOM", 99);
    for (const id of [0, 1]) {
      expect(view.statement(id)).toMatchObject({ state: "available", outcome: "lost", finishedMs: 99 });
      expect(view.statement(id)?.outputs.at(-1)).toMatchObject({ type: "error", evalue: "OOM" });
    }
    expect(view.openStatements).toBe(0);
  });

  test("starts anew from a snapshot and lets the records that follow win", ({ expect }) => {
    const view = new View();
    story(view)(queued(0), out(0, "of another life"));
    const summary = {
      ...{ statement: 0, key: "k0", code: "1", codeCut: false, kind: "pyspark" as const, origin: null, silent: false },
      ...{ state: "available" as const, queuedMs: 1, startedMs: 2, finishedMs: 3, outcome: "ok" as const, ename: null, evalue: null },
      ...{ firstSeq: 1, lastSeq: 9 },
    };
    const open = { ...summary, statement: 1, key: "k1", state: "running" as const, outcome: null, finishedMs: 0 };
    view.reset({ statements: [summary, open], nextStatement: 2, interpreter: "ready", facts: null, logTotal: 5, logTail: ["e"] }, 10);
    expect(view.lastSeq).toBe(9);
    expect(view.statement(0)).toMatchObject({ state: "available", whole: false });
    expect(view.openStatements).toBe(1);
    story(view)(queued(1), finished(1, "error"));
    expect(view.openStatements).toBe(0);
    expect(view.statement(1)).toMatchObject({ outcome: "error" });
    expect([view.logTotal, view.logTail]).toEqual([5, ["e"]]);
  });

  test("keeps the log's tail and counts its lines", ({ expect }) => {
    const view = new View({ bytes: 1, statements: 1, logLines: 3 });
    story(view)({ type: "log", line: 0, lines: ["a", "b"] }, { type: "log", line: 2, lines: ["c", "d"] });
    expect([view.logTotal, view.logTail]).toEqual([4, ["b", "c", "d"]]);
    story(view)({ type: "log", line: 2, lines: ["c", "d", "e"] });
    expect([view.logTotal, view.logTail]).toEqual([5, ["c", "d", "e"]]);
    story(view)({ type: "log", line: 9, lines: ["j"] });
    expect([view.logTotal, view.logTail]).toEqual([10, ["j"]]);
  });

  test("takes any number of log lines at once", ({ expect }) => {
    const view = new View();
    story(view)({ type: "log", line: 0, lines: Array.from({ length: 500_000 }, (_, line) => String(line)) });
    expect([view.logTotal, view.logTail.length, view.logTail.at(-1)]).toEqual([500_000, 200, "499999"]);
  });
});
