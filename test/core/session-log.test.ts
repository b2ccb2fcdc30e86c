import { describe, expect, test } from "vitest";
import type { Claim } from "../../src/core/ports.ts";
import { SessionLog } from "../../src/core/session-log.ts";
import { NO_SPEC } from "../../src/core/spec.ts";
import { View } from "../../src/core/view.ts";

const CLAIM: Claim = { id: 0, uid: "u", owner: null, spec: NO_SPEC, createdMs: 0, notes: ["note"], attempts: [], end: null };
const soon = () => AbortSignal.timeout(5_000);
const numbered = (from: number, count: number): string[] => Array.from({ length: count }, (_, index) => `line ${from + index}`);

/** A log, its driver, and what the driver is asked. */
const logOf = (claim: Claim = CLAIM) => {
  const view = new View();
  const state = { tidings: [] as string[], gone: false, asked: [] as string[], kept: 0, oldest: 0, answer: 1_000_000 };
  const log = new SessionLog(claim, view, {
    ask: async (fromLine, lines) => {
      state.asked.push(`${fromLine}+${lines}`);
      const first = Math.max(fromLine, state.oldest);
      const count = Math.min(lines, state.answer, Math.max(view.logTotal, state.kept) - first);
      return state.gone ? { fromLine, lines: [] } : { fromLine: first, lines: numbered(first, count) };
    },
    tidings: () => state.tidings,
  });
  let seq = 0;
  const say = (count: number, from = view.logTotal) => {
    seq += 1;
    view.apply({ frame: "record", seq, atMs: 0, type: "log", line: from, lines: numbered(from, count) });
  };
  const all = () => log.read(0, log.total, soon());
  return { log, view, state, say, all };
};
type Log = ReturnType<typeof logOf>["log"];

const pagesOf = async (log: Log, more: Parameters<Log["pages"]>[0] = async (others) => others()) => {
  const pages: (readonly string[])[] = [];
  for await (const page of log.pages(more, soon())) pages.push(page);
  return [...pages, log.tidings];
};

describe("while a session starts its log", () => {
  test("has each phase of the launch, once, also after the driver has begun to speak", async () => {
    const { log, state, say, all } = logOf();
    for (const reason of ["waits for a node", "waits for a node", "image is pulled", "", "waits for a node"]) {
      log.launching(reason);
      state.tidings = reason === "" ? [] : [reason];
    }
    const launch = ["note", "waits for a node", "image is pulled", "waits for a node"];
    expect(await all()).toEqual(launch);
    expect(log.tail(2)).toEqual(["image is pulled", "waits for a node"]);
    state.tidings = [];
    say(2);
    log.launching("is started again");
    state.tidings = ["is started again"];
    expect(await all()).toEqual([...launch, "line 0", "line 1", "is started again"]);
    expect([log.total, log.tail(9)]).toEqual([7, [...launch, "line 0", "line 1", "is started again"]]);
  });

  test("grows within bounds, and says the newest phase all the same", async () => {
    const { log, state, all } = logOf();
    for (let phase = 0; phase < 100; phase += 1) {
      log.launching(`phase ${phase}`);
      state.tidings = [`phase ${phase}`];
    }
    expect(log.total).toBe(1 + 50 + 1);
    expect((await all()).slice(-2)).toEqual(["phase 49", "phase 99"]);
  });
});

describe("while a driver runs its log", () => {
  test("is asked for what was let go, and for nothing else", async () => {
    const { log, state, say } = logOf();
    log.launching("begun");
    say(1_000);
    expect(log.total).toBe(1_002);
    expect(await log.read(900, 3, soon())).toEqual(numbered(898, 3));
    expect(state.asked).toEqual([]);
    expect(await log.read(0, 4, soon())).toEqual(["note", "begun", "line 0", "line 1"]);
    expect(await log.read(700, 200, soon())).toEqual(numbered(698, 200));
    expect(await log.read(1_001, 9, soon())).toEqual(["line 999"]);
    expect(await log.read(5_000, 9, soon())).toEqual([]);
    expect(state.asked).toEqual(["0+2", "698+102"]);
    expect(log.tail(3)).toEqual(numbered(997, 3));
    expect(log.tail(0)).toEqual([]);
  });

  test("is read whole in pieces, then as it grows, in order and without a gap", async () => {
    const { log, state, say } = logOf();
    say(2_500);
    const rounds = [3, 1_200, 0];
    const pages = await pagesOf(log, async (others) => {
      say(rounds.shift() ?? 0);
      state.tidings = ["the end"];
      return others();
    });
    expect(Math.max(...pages.map((page) => page.length))).toBe(1_000);
    expect(pages.flat()).toEqual(["note", ...numbered(0, 3_703), "the end"]);
  });

  test("has no line twice or in another's place when the driver keeps the first ones no more", async () => {
    const { log, state, say } = logOf();
    say(10_000);
    state.oldest = 4_500;
    expect((await pagesOf(log)).flat()).toEqual(["note", ...numbered(4_500, 5_500)]);
    expect(state.asked.slice(0, 2)).toEqual(["0+1000", "5500+1000"]);
    expect(await log.read(1, 100, soon())).toEqual([]);
    expect(await log.read(4_451, 100, soon())).toEqual(numbered(4_500, 50));
    expect(await log.read(4_551, 100, soon())).toEqual(numbered(4_550, 100));
  });

  test("is whole when one answer of the driver does not hold what is asked for", async () => {
    const { state, say, all } = logOf();
    say(3_000);
    state.answer = 900;
    expect(await all()).toEqual(["note", ...numbered(0, 3_000)]);
    expect(state.asked).toEqual(["0+2800", "900+1900", "1800+1000", "2700+100"]);
  });

  test.for([2 ** 40, Number.MAX_SAFE_INTEGER - 10, 1e300])(
    "is told at once when the driver claims to be at line %d",
    async (line, { expect }) => {
      const { log, state, say } = logOf();
      say(2, line);
      state.gone = true;
      const last = line === 1e300 ? [] : ["line", "line"];
      const words = (lines: readonly string[]) => lines.map((text) => text.split(" ")[0]);
      expect(words((await pagesOf(log)).flat())).toEqual(["note", ...last]);
      log.end([]);
      expect(words((await pagesOf(log)).flat())).toEqual(["note", ...last]);
      const told: string[] = [];
      for await (const { lines } of log.driverLines(
        0,
        async (others) => others(),
        async () => {},
        soon(),
      ))
        told.push(...lines);
      expect(words(told)).toEqual(last);
    },
  );

  test("is what is known while the driver cannot be asked", async () => {
    const { log, state, say } = logOf();
    say(1_000);
    state.gone = true;
    expect(await log.read(0, 1_001, soon())).toEqual(["note", ...numbered(800, 200)]);
    expect((await pagesOf(log)).flat()).toEqual(["note", ...numbered(800, 200)]);
  });
});

describe("when a session has ended its log", () => {
  test("is what was fetched in time, what came after that, and the last words its workload has", async () => {
    const { log, state, say, all } = logOf();
    log.launching("begun");
    say(3_000);
    await log.keep(soon());
    expect(state.asked).toEqual(["2000+1000"]);
    say(50);
    state.gone = true;
    const { logTail: kept, ...counted } = log.end([...numbered(3_040, 10), "Traceback", "MemoryError"]);
    expect(kept).toEqual([...numbered(2_052, 998), "Traceback", "MemoryError"]);
    expect(counted).toEqual({ logLines: 3_052, onlyTail: true, launch: ["begun"] });
    state.tidings = ["Session ended (dead): it crashed"];
    expect([log.total, log.tail(2)]).toEqual([2 + 3_052 + 1, ["MemoryError", "Session ended (dead): it crashed"]]);
    // Positions are what they were.
    expect(await log.read(2 + 3_000, 2, soon())).toEqual(numbered(3_000, 2));
    expect(await all()).toEqual(["note", "begun", ...kept, "Session ended (dead): it crashed"]);
    expect((await pagesOf(log)).flat()).toEqual(await all());
    expect(state.asked).toEqual(["2000+1000"]);
  });

  test.each([
    ["nothing", [], []],
    ["the same lines", numbered(0, 5), []],
    ["the last ones", numbered(3, 2), []],
    ["older ones", numbered(1, 2), []],
    ["the last ones and more", [...numbered(3, 2), "more"], ["more"]],
    ["the same lines twice, as of two lives", [...numbered(0, 5), "between", ...numbered(0, 5), "more"], ["more"]],
    ["others", ["other", "lines"], ["other", "lines"]],
  ])("has last words once: %s", (_, said, added) => {
    const { log, say } = logOf();
    say(5);
    expect(log.end(said)).toEqual({ logTail: [...numbered(0, 5), ...added] });
  });

  test("of a driver that never spoke has its launch and what its workload says", async () => {
    const { log, state, all } = logOf();
    log.launching("image is pulled");
    state.tidings = ["image is pulled"];
    expect(log.end(["exec format error"])).toEqual({ logTail: ["image is pulled", "exec format error"] });
    state.tidings = ["Session ended (dead): exec format error"];
    expect(await all()).toEqual(["note", "image is pulled", "exec format error", "Session ended (dead): exec format error"]);
    log.launching("late");
    expect(log.total).toBe(4);
  });

  test("of a driver that ended before it was heard keeps its launch in its place, for who has read that already", async () => {
    const { log, all } = logOf();
    log.launching("is started");
    const pages = await pagesOf(log, async (others) => {
      log.end(["run", "exit code 7"], 2);
      return others();
    });
    expect(pages).toEqual([["note", "is started"], ["run", "exit code 7"], []]);
    expect(await all()).toEqual(["note", "is started", "run", "exit code 7"]);
  });

  test("keeps no more than a claim can hold, in lines and in bytes", () => {
    const many = logOf();
    many.say(5);
    expect(many.log.end(Array.from({ length: 5_000 }, (_, line) => `said ${line}`)).logTail).toEqual(
      Array.from({ length: 1_000 }, (_, line) => `said ${line + 4_000}`),
    );
    const long = logOf();
    const { logTail: kept } = long.log.end(Array.from({ length: 100 }, (_, line) => `${line} ${"é".repeat(4_000)}`));
    expect(kept).toHaveLength(16);
    expect(kept.at(-1)).toMatch(/^99 é/);
  });

  test("does without what came too late to be fetched whole", async () => {
    const { log, say } = logOf();
    say(1_000);
    await log.keep(soon());
    say(500);
    expect(log.end([]).logTail).toEqual(numbered(1_300, 200));
  });

  test("is what its claim kept, for the next server", async () => {
    const end = { state: "dead" as const, reason: "r", logTail: ["a", "b"], endedMs: 1, appId: null };
    const { state, all } = logOf({ ...CLAIM, end });
    state.tidings = ["Session ended (dead): r"];
    expect(await all()).toEqual(["note", "a", "b", "Session ended (dead): r"]);
    expect(state.asked).toEqual([]);
  });

  test.for([
    ["of a driver that spoke much", 3_000, undefined],
    ["of a driver that spoke little", 10, undefined],
    ["of a driver that never spoke", 0, undefined],
    ["of an application that ended unheard", 0, 5_000],
  ] as const)("has each line in its place on the next server too: %s", async ([, spoken, counted], { expect }) => {
    const { log, state, say, all } = logOf();
    for (const reason of ["waits for a node", "image is pulled"]) log.launching(reason);
    if (spoken > 0) say(spoken);
    const kept = counted === undefined ? log.end(["last words"]) : log.end(numbered(4_000, 1_000), counted);
    state.kept = counted ?? 0;
    const end = { state: "dead" as const, reason: "r", ...kept, endedMs: 1, appId: null };
    const next = logOf({ ...CLAIM, end });
    next.state.kept = counted ?? 0;
    expect(await next.all()).toEqual(await all());
    for (const from of [0, 3, log.total - 2]) expect(await next.log.read(from, 3, soon())).toEqual(await log.read(from, 3, soon()));
    // Another server of the same session, which saw less of the launch.
    const other = logOf();
    other.log.conclude(end);
    expect([other.log.total, next.log.total]).toEqual([log.total, log.total]);
  });

  test("is whole where its launcher keeps it, for this server and the next, with the last lines of the attempts before", async () => {
    const attempt = { state: "dead" as const, reason: "it failed", logTail: ["x", "y"], endedMs: 1, appId: null, nextMs: 2 };
    const claim = { ...CLAIM, attempts: [attempt] };
    const before = ["note", "x", "y", "Attempt 1 ended (dead): it failed"];
    const { log, state, say, all } = logOf(claim);
    say(3_000);
    state.kept = 3_002;
    expect(log.end(numbered(2_002, 1_000), 3_002)).toEqual({ logTail: numbered(2_002, 1_000), logLines: 3_002 });
    state.tidings = ["Session ended (success): done"];
    expect(await all()).toEqual([...before, ...numbered(0, 3_002), ...state.tidings]);
    expect(await log.read(2_000, 3, soon())).toEqual(numbered(1_996, 3));
    const end = { state: "success" as const, reason: "done", logTail: numbered(2_002, 1_000), logLines: 3_002, endedMs: 1, appId: null };
    const next = logOf({ ...claim, end });
    Object.assign(next.state, { kept: 3_002, tidings: state.tidings });
    expect(await next.all()).toEqual(await all());
    expect((await pagesOf(next.log)).flat()).toEqual(await all());
  });
});

test("a driver's lines are told by their numbers: kept ones, asked ones, and those that come, without what nobody has", async () => {
  const { log, view, state, say } = logOf();
  say(1_500);
  const told: string[] = [];
  const follow = async (from: number, settled = async () => {}) => {
    const more = async (others: () => boolean) => {
      if (told.length < 3 && from === 0) say(1);
      return others();
    };
    for await (const { line, lines } of log.driverLines(from, more, settled, soon())) told.push(`${line}+${lines.length}`);
    return told.splice(0);
  };
  // 200 of them are in the view.
  expect(await follow(1_450)).toEqual(["1450+50"]);
  expect(await follow(0)).toEqual(["0+1000", "1000+300", "1300+200"]);
  expect(view.logTotal).toBe(1_500);
  state.gone = true;
  // Nobody has the first ones for now; then somebody has.
  expect(await follow(1_200, async () => void Object.assign(state, { gone: false }))).toEqual(["1200+100", "1300+200"]);
  state.gone = true;
  expect(await follow(1_200)).toEqual(["1300+200"]);
});
