import { describe, expect, test } from "vitest";
import { Batch } from "../../src/core/batch.ts";
import type { EndedPhase } from "../../src/core/driver.ts";
import type { Attempt, Claim, Launcher, SessionEnd, Workload } from "../../src/core/ports.ts";
import { nextAttemptMs } from "../../src/core/retry.ts";
import type { LinePlace } from "../../src/core/session-log.ts";
import { type Application, NO_SPEC } from "../../src/core/spec.ts";
import { BATCH_NEXT, batchState, isEnded, SESSION_NEXT, type SessionState } from "../../src/core/states.ts";
import { until } from "../kit/until.ts";

type Retry = Application["retry"];
const RETRY: Retry = { maxAttempts: 3, backoffMs: 0, on: ["submission-refused", "driver-lost", "non-zero-exit"] };
const claimOf = (retry: Partial<Retry> = {}, attempts: readonly Attempt[] = []): Claim => ({
  ...{ id: 7, uid: "u", owner: null, createdMs: 1, notes: ["note"], attempts, end: null },
  spec: { ...NO_SPEC, application: { file: "file:///a.py", className: null, args: [], retry: { ...RETRY, ...retry } } },
});
const endOf = (cause: SessionEnd["cause"], endedMs = 1_000): SessionEnd => ({
  ...{ state: "dead", reason: "because", logTail: ["last"], endedMs, appId: null },
  ...(cause === undefined ? {} : { cause }),
});
const failed = (exitCode: number): EndedPhase => ({
  ...{ phase: "ended", state: "dead", reason: `exited with ${exitCode}`, logTail: [`wrote ${exitCode}`] },
  ...{ cause: "non-zero-exit", exitCode },
});
const SUCCEEDED: EndedPhase = { phase: "ended", state: "success", reason: "ended", logTail: ["done"], exitCode: 0 };

/** A launcher that begins what it is asked for and ends it when the test says so. */
class Launches {
  readonly launched: Claim[] = [];
  readonly concluded: SessionEnd[] = [];
  readonly #ends: PromiseWithResolvers<EndedPhase>[] = [];
  /** What somebody else wrote down first. */
  first: Partial<Claim> = {};
  retryFails = false;

  launch(claim: Claim): Workload {
    this.launched.push(claim);
    const end = Promise.withResolvers<EndedPhase>();
    this.#ends.push(end);
    return {
      ...{ phase: { phase: "running" }, mute: "this test speaks to no driver", key: new Uint8Array(), seal: new Uint8Array() },
      dial: () => Promise.reject(new Error("nobody dials it")),
      async *phases(signal) {
        yield { phase: "running" };
        const aborted = new Promise<null>((resolve) => signal.addEventListener("abort", () => resolve(null), { once: true }));
        const last = await Promise.race([end.promise, aborted]);
        if (last !== null) yield last;
      },
      stop: async () => end.resolve({ phase: "ended", state: "dead", reason: "", logTail: [], cause: "driver-lost" }),
    };
  }

  async retry(claim: Claim, attempt: Attempt): Promise<Claim> {
    if (this.retryFails) throw new Error("the disk is full");
    return { ...claim, attempts: [...claim.attempts, attempt], ...this.first };
  }

  async conclude(_claim: Claim, end: SessionEnd): Promise<SessionEnd> {
    this.concluded.push(end);
    return end;
  }

  /** Ends the attempt of this number once it runs. */
  async end(attempt: number, phase: EndedPhase): Promise<void> {
    await until(`attempt ${attempt} runs`, 5_000, () => this.#ends[attempt - 1], 1).then(({ resolve }) => resolve(phase));
  }

  batch(claim: Claim): Batch {
    const launcher = this as Partial<Launcher> as Launcher;
    const openLink = () => {
      throw new Error("nobody speaks to this driver");
    };
    return new Batch(claim, { launcher, openLink, clock: { now: Date.now }, startWaitMs: 100, stopGraceMs: 100, uploads: null });
  }
}

const over = (batch: Batch) => until("the batch is over", 5_000, () => batch.end ?? undefined, 1);

describe("a batch", () => {
  test("is tried again, each attempt with what was before in its claim and its log, until one succeeds", async () => {
    const launches = new Launches();
    const batch = launches.batch(claimOf());
    batch.start();
    expect(batch.state).toBe("running");
    await launches.end(1, failed(3));
    await launches.end(2, failed(4));
    await launches.end(3, SUCCEEDED);
    expect(await over(batch)).toMatchObject({ state: "success", exitCode: 0 });
    expect(launches.launched.map(({ attempts }) => attempts.length)).toEqual([0, 1, 2]);
    expect(batch.attempts.map(({ number, end }) => [number, end?.state, end?.exitCode])).toEqual([
      [1, "dead", 3],
      [2, "dead", 4],
      [3, "success", 0],
    ]);
    expect(batch.logTail(100)).toEqual([
      ...["note", "wrote 3", "Attempt 1 ended (dead): exited with 3", "wrote 4", "Attempt 2 ended (dead): exited with 4"],
      ...["done", "Batch ended (success): ended"],
    ]);
    expect(launches.concluded).toHaveLength(1);
  });

  test("is followed by whoever follows its log from one attempt to the next", async () => {
    const launches = new Launches();
    const batch = launches.batch(claimOf());
    batch.start();
    const lines: string[] = [];
    const following = (async () => {
      for await (const page of batch.wholeLog(true, AbortSignal.timeout(5_000))) lines.push(...page);
    })();
    await until("it is followed", 5_000, () => (lines.length > 0 ? true : undefined), 1);
    await launches.end(1, failed(3));
    await launches.end(2, failed(4));
    await launches.end(3, SUCCEEDED);
    await following;
    // No link told of what they wrote; the claim has it of those that passed unseen.
    expect(lines.filter((line) => !line.startsWith("wrote"))).toEqual([
      ...["note", "Attempt 1 ended (dead): exited with 3", "Attempt 2 ended (dead): exited with 4", "done", "Batch ended (success): ended"],
    ]);
  });

  test("tells what its drivers wrote with each line's place, from any place on and attempt after attempt to the end", async () => {
    const launches = new Launches();
    const numbered = { ...failed(3), logTail: ["8", "9"], logLines: 10 };
    const batch = launches.batch(claimOf());
    const told = async (from: LinePlace) => {
      const pieces = [];
      for await (const piece of batch.driverLines(from, AbortSignal.timeout(5_000)))
        pieces.push("end" in piece ? [piece.attempt, piece.end.state, piece.last] : [piece.attempt, piece.line, piece.lines]);
      return pieces;
    };
    // An attempt that this server does not know yet.
    const third = told({ attempt: 3, line: 0 });
    batch.start();
    await launches.end(1, numbered);
    await launches.end(2, failed(4));
    await launches.end(3, SUCCEEDED);
    await over(batch);
    const last = [
      [3, 0, ["done"]],
      [3, "success", true],
    ];
    expect(await third).toEqual(last);
    expect(await told({ attempt: 1, line: 9 })).toEqual([
      ...[
        [1, 9, ["9"]],
        [1, "dead", false],
        [2, 0, ["wrote 4"]],
        [2, "dead", false],
      ],
      ...last,
    ]);
    expect((await told({ attempt: 1, line: 0 }))[0]).toEqual([1, 8, ["8", "9"]]);
    expect(await told({ attempt: 4, line: 0 })).toEqual([[4, "success", true]]);
  });

  test("has the lines that are left of an attempt by their own numbers", async () => {
    const launches = new Launches();
    const batch = launches.batch(claimOf({ maxAttempts: 2 }));
    const said = Array.from({ length: 500 }, (_, line) => `line ${line}`);
    batch.start();
    await launches.end(1, { ...failed(3), logTail: said });
    await launches.end(2, SUCCEEDED);
    await over(batch);
    const told = async (line: number) => {
      for await (const piece of batch.driverLines({ attempt: 1, line }, AbortSignal.timeout(5_000))) return piece;
      return null;
    };
    expect(await told(0)).toEqual({ attempt: 1, line: 300, lines: said.slice(300) });
    expect(await told(490)).toEqual({ attempt: 1, line: 490, lines: said.slice(490) });
  });

  test("ends when its attempts are spent, or after an end that is none of those it is to be tried after", async () => {
    const launches = new Launches();
    const batch = launches.batch(claimOf({ maxAttempts: 2 }));
    batch.start();
    await launches.end(1, failed(3));
    await launches.end(2, failed(4));
    expect(await over(batch)).toMatchObject({ state: "dead", cause: "non-zero-exit", exitCode: 4 });
    const other = new Launches();
    const choosy = other.batch(claimOf({ on: ["driver-lost"] }));
    choosy.start();
    await other.end(1, failed(3));
    expect(await over(choosy)).toMatchObject({ exitCode: 3 });
    expect([launches.launched.length, other.launched.length]).toEqual([2, 1]);
  });

  test("that is stopped, while it runs or between two attempts, is killed and not tried again", async () => {
    const launches = new Launches();
    const batch = launches.batch(claimOf());
    batch.start();
    await batch.stop("killed", "it was deleted");
    expect(batch.end).toMatchObject({ state: "killed", reason: "it was deleted" });
    expect(batch.end?.cause).toBeUndefined();
    const waits = new Launches();
    const waiting = waits.batch(claimOf({ backoffMs: 3_600_000 }));
    waiting.start();
    await waits.end(1, failed(3));
    await until("its second attempt is waited for", 5_000, () => (waiting.attempts.length === 2 ? true : undefined), 1);
    expect(waiting.state).toBe("starting");
    expect(waiting.logTail(1)).toEqual([expect.stringMatching(/^Attempt 2 begins at \d{4}-/)]);
    await waiting.stop("killed", "it was deleted");
    expect(waiting.end).toMatchObject({ state: "killed", reason: "it was deleted" });
    expect([launches.launched.length, waits.launched.length]).toEqual([1, 1]);
  });

  test("whose end another server has written down is over at once, also between two attempts", async () => {
    const launches = new Launches();
    const batch = launches.batch(claimOf({ backoffMs: 3_600_000 }));
    batch.start();
    await launches.end(1, failed(3));
    await until("its second attempt is waited for", 5_000, () => (batch.attempts.length === 2 ? true : undefined), 1);
    batch.endedElsewhere({ ...endOf(undefined), state: "killed", reason: "elsewhere" });
    expect(await over(batch)).toMatchObject({ state: "killed", reason: "elsewhere" });
    expect([launches.launched.length, launches.concluded.length]).toEqual([1, 0]);
  });

  test("that a server finds between two attempts waits for as long as was left", async () => {
    const launches = new Launches();
    const nextMs = Date.now() + 150;
    const batch = launches.batch(claimOf({}, [{ ...endOf("driver-lost"), nextMs }]));
    batch.start();
    expect([batch.state, launches.launched.length]).toEqual(["starting", 0]);
    await launches.end(1, SUCCEEDED);
    // Timers of Node's fire up to a millisecond early.
    expect(Date.now()).toBeGreaterThanOrEqual(nextMs - 1);
    expect(await over(batch)).toMatchObject({ state: "success" });
    const left = launches.batch(claimOf({}, [{ ...endOf("driver-lost"), nextMs: Date.now() + 3_600_000 }]));
    left.start();
    await left.detach();
    expect([left.end, launches.launched.length]).toEqual([null, 1]);
  });

  test("whose end another server wrote down first, or whose next attempt cannot be written down, is over", async () => {
    const launches = new Launches();
    launches.first = { end: { ...endOf(undefined), state: "killed", reason: "elsewhere" } };
    const batch = launches.batch(claimOf());
    batch.start();
    await launches.end(1, failed(3));
    expect(await over(batch)).toMatchObject({ state: "killed", reason: "elsewhere" });
    expect(launches.concluded).toEqual([]);
    const full = new Launches();
    full.retryFails = true;
    const stuck = full.batch(claimOf());
    stuck.start();
    await full.end(1, failed(3));
    expect(await over(stuck)).toMatchObject({ state: "dead", exitCode: 3 });
  });
});

test("the pause before an attempt doubles, up to an hour", () => {
  const many = (length: number) => Array.from({ length }, () => ({ ...endOf("driver-lost"), nextMs: 0 }));
  const retry = { maxAttempts: 20, backoffMs: 10_000 };
  const pauses = [0, 1, 2, 10].map((past) => (nextAttemptMs(claimOf(retry, many(past)), endOf("driver-lost", 0)) ?? -1) / 1_000);
  expect(pauses).toEqual([10, 20, 40, 3_600]);
  expect(nextAttemptMs(claimOf(retry, many(19)), endOf("driver-lost"))).toBeNull();
  expect(nextAttemptMs(claimOf(retry), endOf(undefined))).toBeNull();
});

test("a batch's states are Livy's, and none is `recovering`", () => {
  const ended = { phase: "ended", state: "dead", reason: "", logTail: [] } as const;
  expect(batchState({ phase: "pending", reason: "" }, false)).toBe("starting");
  expect(batchState({ phase: "running" }, false)).toBe("running");
  expect(batchState(ended, false)).toBe("starting");
  expect(batchState(ended, true)).toBe("dead");
  for (const [state, next] of Object.entries(BATCH_NEXT)) {
    expect(Object.keys(SESSION_NEXT)).toContain(state);
    expect(next.length === 0).toBe(isEnded(state as SessionState));
  }
  expect(Object.keys(BATCH_NEXT)).not.toContain("recovering");
});
