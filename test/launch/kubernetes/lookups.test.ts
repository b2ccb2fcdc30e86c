import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { WantedClaim } from "../../../src/core/ports.ts";
import { type ClaimState, readClaim } from "../../../src/launch/kubernetes/claim-reading.ts";
import { Lookups } from "../../../src/launch/kubernetes/lookups.ts";

const SOME = readClaim({ metadata: { name: "longwick-session-7", uid: "u", resourceVersion: "1" } });

const isSeven = (wanted: WantedClaim | undefined): boolean => wanted !== undefined && "id" in wanted && wanted.id === 7;

/** Lookups that note what they ask for; only 7 is there. */
const noted = () => {
  const asked: WantedClaim[] = [];
  const answers: PromiseWithResolvers<ClaimState | null>[] = [];
  const lookups = new Lookups((wanted) => {
    asked.push(wanted);
    const answer = Promise.withResolvers<ClaimState | null>();
    answers.push(answer);
    return answer.promise;
  });
  const answer = () => {
    for (const [index, { resolve }] of answers.entries()) resolve(isSeven(asked[index]) ? SOME : null);
  };
  return { lookups, asked, answers, answer };
};

// Whatever the machine does meanwhile: all of it is asked for at one moment.
beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

describe("lookups of unknown sessions", () => {
  test("many who ask for the same at once are one question, and its answer is everybody's", async () => {
    const { lookups, asked, answer } = noted();
    const found = Promise.all(Array.from({ length: 50 }, () => lookups.find({ id: 7 })));
    answer();
    expect(new Set(await found)).toEqual(new Set([SOME]));
    expect(asked).toEqual([{ id: 7 }]);
  });

  test("what is not there is not asked for again at once", async () => {
    const { lookups, asked, answer } = noted();
    const first = lookups.find({ name: "nobody" });
    answer();
    expect(await first).toBeNull();
    for (let again = 0; again < 100; again++) expect(await lookups.find({ name: "nobody" })).toBeNull();
    expect(asked).toEqual([{ name: "nobody" }]);
  });

  test("a flood of ids that never were reaches the API server in part, and the rest is told to try again", async () => {
    const { lookups, asked, answer } = noted();
    const flood = Promise.allSettled(Array.from({ length: 5_000 }, (_, id) => lookups.find({ id: 1_000 + id })));
    answer();
    const refused = (await flood).filter((outcome) => outcome.status === "rejected");
    expect(asked.length).toBeLessThan(200);
    expect(refused).toHaveLength(5_000 - asked.length);
    expect(refused[0]?.reason).toMatchObject({ code: "DRIVER_UNREACHABLE", message: expect.stringContaining("Too many unknown sessions") });
  });

  test("an API server that does not answer is no 404", async () => {
    const { lookups, answers } = noted();
    const found = lookups.find({ id: 8 });
    answers[0]?.reject(new Error("connect ECONNREFUSED"));
    await expect(found).rejects.toMatchObject({ code: "DRIVER_UNREACHABLE", message: expect.stringContaining("session 8") });
    // And is asked again.
    const again = lookups.find({ id: 8 });
    answers[1]?.resolve(null);
    expect(await again).toBeNull();
  });
});
