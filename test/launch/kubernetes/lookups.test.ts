import { describe, expect, test } from "vitest";
import { type ClaimState, readClaim } from "../../../src/launch/kubernetes/claim-reading.ts";
import { Lookups } from "../../../src/launch/kubernetes/lookups.ts";

const SOME = readClaim({ metadata: { name: "longwick-session-7", uid: "u", resourceVersion: "1" } });

/** Lookups that note what they ask for; only 7 is there. */
const noted = () => {
  const asked: (number | string)[] = [];
  const answers: PromiseWithResolvers<ClaimState | null>[] = [];
  const lookups = new Lookups((idOrName) => {
    asked.push(idOrName);
    const answer = Promise.withResolvers<ClaimState | null>();
    answers.push(answer);
    return answer.promise;
  });
  const answer = () => {
    for (const [index, { resolve }] of answers.entries()) resolve(asked[index] === 7 ? SOME : null);
  };
  return { lookups, asked, answers, answer };
};

describe("lookups of unknown sessions", () => {
  test("many who ask for the same at once are one question, and its answer is everybody's", async () => {
    const { lookups, asked, answer } = noted();
    const found = Promise.all(Array.from({ length: 50 }, () => lookups.find(7)));
    answer();
    expect(new Set(await found)).toEqual(new Set([SOME]));
    expect(asked).toEqual([7]);
  });

  test("what is not there is not asked for again at once", async () => {
    const { lookups, asked, answer } = noted();
    const first = lookups.find("nobody");
    answer();
    expect(await first).toBeNull();
    for (let again = 0; again < 100; again++) expect(await lookups.find("nobody")).toBeNull();
    expect(asked).toEqual(["nobody"]);
  });

  test("a flood of ids that never were reaches the API server in part, and the rest is told to try again", async () => {
    const { lookups, asked, answer } = noted();
    const flood = Promise.allSettled(Array.from({ length: 5_000 }, (_, id) => lookups.find(1_000 + id)));
    answer();
    const refused = (await flood).filter((outcome) => outcome.status === "rejected");
    expect(asked.length).toBeLessThan(200);
    expect(refused).toHaveLength(5_000 - asked.length);
    expect(refused[0]?.reason).toMatchObject({ code: "DRIVER_UNREACHABLE", message: expect.stringContaining("Too many unknown sessions") });
  });

  test("an API server that does not answer is no 404", async () => {
    const { lookups, answers } = noted();
    const found = lookups.find(8);
    answers[0]?.reject(new Error("connect ECONNREFUSED"));
    await expect(found).rejects.toMatchObject({ code: "DRIVER_UNREACHABLE", message: expect.stringContaining("'8'") });
    // And is asked again.
    const again = lookups.find(8);
    answers[1]?.resolve(null);
    expect(await again).toBeNull();
  });
});
