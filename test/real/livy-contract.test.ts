import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { type Server, startServer } from "../kit/server.ts";
import { covers, type Difference, readIntended } from "./livy-contract/differences.ts";
import { isPending, readRecording } from "./livy-contract/recording.ts";
import { type Outcome, replay } from "./livy-contract/replay.ts";
import { RECORDED_APPLICATIONS, replayBatches } from "./livy-contract/replay-batches.ts";

const recording = readRecording();
const intended = readIntended();
const SECTIONS = ["service", "create_errors", "lifecycle", "python", "retention", "big", "progress", "kinds", "death", "csrf"] as const;

/** Exchanges that wait for Scala and R. A capability that arrives lowers this number. */
const PENDING = 67;

const show = ({ section, case: name, what, livy, ours }: Difference): string =>
  `${section} | ${name} | ${what}: Livy ${JSON.stringify(livy)?.slice(0, 300)}, ours ${JSON.stringify(ours)?.slice(0, 300)}`;

describe("what Livy 0.9.0 answered", () => {
  const outcomes: Outcome[] = [];
  let applications: Applications;
  let server: Server;
  let guarded: Server;

  beforeAll(async () => {
    applications = await Applications.make();
    for (const [name, code] of Object.entries(RECORDED_APPLICATIONS)) await applications.python(name, code);
    server = await startServer({ flags: ["--local-paths", applications.directory] });
    guarded = await startServer({ flags: ["--csrf-protection"] });
  });
  afterAll(async () => {
    await guarded[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    await applications[Symbol.asyncDispose]();
  });

  test.for(SECTIONS)("is answered alike in the section %s, but for what is intended", { timeout: 400_000 }, async (section) => {
    const lines = recording.filter((line) => line.section === section);
    const outcome = await replay((section === "csrf" ? guarded : server).url, lines);
    outcomes.push(outcome);
    const surprises = outcome.differences.filter((difference) => !intended.some((line) => covers(line, difference)));
    expect(surprises.map(show)).toEqual([]);
  });

  test("is answered alike in the section batches, but for what is intended", { timeout: 400_000 }, async () => {
    const lines = recording.filter((line) => line.section === "batches");
    const outcome = await replayBatches(server.url, applications.directory, lines);
    outcomes.push(outcome);
    const surprises = outcome.differences.filter((difference) => !intended.some((line) => covers(line, difference)));
    expect(surprises.map(show)).toEqual([]);
  });

  test("every intended difference is still there", () => {
    const differences = outcomes.flatMap((outcome) => outcome.differences);
    const stale = intended.filter((line) => !differences.some((difference) => covers(line, difference)));
    expect(stale).toEqual([]);
  });

  test("every recorded exchange was replayed or is pending", () => {
    const exchanges = recording.filter((line) => line.request !== undefined);
    const pending = exchanges.filter(isPending);
    const compared = outcomes.reduce((sum, outcome) => sum + outcome.compared, 0);
    process.stdout.write(`${compared} exchanges compared; ${pending.length} pending: the kinds spark and sparkr\n`);
    expect(pending.length).toBe(PENDING);
    expect(compared).toBe(exchanges.length - PENDING);
  });
});
