import { describe, test } from "vitest";
import {
  isEnded,
  isFinalStatement,
  SESSION_NEXT,
  type SessionFacts,
  type SessionState,
  STATEMENT_NEXT,
  sessionState,
} from "../../src/core/states.ts";

const running: SessionFacts = {
  workload: { phase: "running" },
  stopping: false,
  linkRefused: null,
  interpreter: "ready",
  openStatements: 0,
};

describe("the session's state", () => {
  test.for<[Partial<SessionFacts>, SessionState]>([
    [{}, "idle"],
    [{ openStatements: 1 }, "busy"],
    [{ interpreter: "unknown" }, "starting"],
    [{ interpreter: "starting" }, "starting"],
    [{ interpreter: "starting", openStatements: 3 }, "starting"],
    [{ interpreter: "exited" }, "error"],
    [{ workload: { phase: "pending", reason: "image pull" } }, "starting"],
    [{ stopping: true }, "shutting_down"],
    [{ linkRefused: "no common version" }, "error"],
    [{ workload: { phase: "ended", state: "killed", reason: "", logTail: [] }, stopping: true }, "killed"],
  ])("%j is %s", ([change, state], { expect }) => {
    expect(sessionState({ ...running, ...change })).toBe(state);
  });

  test("may always reach an end, and nothing follows one", ({ expect }) => {
    for (const [state, next] of Object.entries(SESSION_NEXT)) {
      expect(next.length === 0).toBe(isEnded(state as SessionState));
      for (const follower of next) expect(Object.keys(SESSION_NEXT)).toContain(follower);
    }
  });
});

test("a statement's states lead to a final one", ({ expect }) => {
  expect(Object.keys(STATEMENT_NEXT).filter((state) => isFinalStatement(state as keyof typeof STATEMENT_NEXT))).toEqual([
    "available",
    "cancelled",
  ]);
});
