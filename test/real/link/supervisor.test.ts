import type { Duplex } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Claim, DriverLink, Launcher, LinkEvent, Workload } from "../../../src/core/ports.ts";
import { openLink } from "../../../src/link/link.ts";
import type { RecordFrame } from "../../../src/protocol/frames.ts";
import { LocalSite } from "../../kit/local-site.ts";
import { draftOf, reach } from "../../launch/contract.ts";

/** The link with the real supervisor over a unix socket. Statements stay queued: the JVM never comes up. */
const soon = () => AbortSignal.timeout(20_000);
const submission = (key: string, code = "1+1") => ({
  key,
  code,
  kind: "pyspark" as const,
  origin: { client: "test" },
  stopOnError: false,
  silent: false,
  stdin: false,
});

let site: LocalSite;
let launcher: Launcher;
let claim: Claim;
let workload: Workload;
let connections: Duplex[];
const links: DriverLink[] = [];

beforeEach(async () => {
  site = await LocalSite.make();
  launcher = await site.open();
  claim = await launcher.claim(draftOf(), soon());
  workload = launcher.launch(claim);
  connections = [];
});
afterEach(async () => {
  await Promise.all(links.splice(0).map((link) => link.close()));
  await launcher.close();
  await site.dispose();
});

const follow = (tuning: Parameters<typeof openLink>[1] = {}) => {
  const dial = async (signal: AbortSignal) => {
    const connection = await workload.dial(signal);
    connections.push(connection);
    return connection;
  };
  const link = openLink({ session: claim.uid, key: workload.key, dial }, tuning);
  links.push(link);
  const events: LinkEvent[] = [];
  const followed = (async () => {
    for await (const event of link.events()) events.push(event);
  })();
  const count = (type: LinkEvent["type"]) => events.filter((event) => event.type === type).length;
  // What a fold would hold: a reset forgets what came before.
  const records = (): readonly RecordFrame[] =>
    events
      .slice(events.findLastIndex((event) => event.type === "reset") + 1)
      .flatMap((event) => (event.type === "records" ? event.records : []));
  const queued = () => records().flatMap((record) => (record.type === "queued" ? [record.key] : []));
  return { link, events, followed, count, records, queued };
};

test("a cut link is dialled anew; every keyed submit is queued once, every record comes once", { timeout: 30_000 }, async () => {
  const { link, count, records, queued } = follow({ firstPauseMs: 1, pauseLimitMs: 10 });
  await expect.poll(() => count("reset"), { timeout: 10_000 }).toBe(1);
  const keys = Array.from({ length: 200 }, (_, number) => `key-${number}`);
  const ids: number[] = [];
  for (let from = 0; from < keys.length; from += 40) {
    const asked = keys.slice(from, from + 40).map((key) => link.request("submit", submission(key), soon()));
    // Some of them are under way, some are answered, some were not sent.
    for (let turns = from / 40; turns > 0; turns--) await new Promise(setImmediate);
    connections.at(-1)?.destroy();
    ids.push(...(await Promise.all(asked)).map(({ statement }) => statement));
  }
  expect([...ids].sort((a, b) => a - b)).toEqual(keys.map((_, number) => number));
  await expect.poll(() => queued().length, { timeout: 10_000 }).toBe(200);
  expect(new Set(queued())).toEqual(new Set(keys));
  const seqs = records().map((record) => record.seq);
  expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
  await expect.poll(() => count("down"), { timeout: 10_000 }).toBeGreaterThan(2);
  expect(count("reset")).toBe(1);
  expect((await link.request("submit", submission("key-7"), soon())).statement).toBe(ids[7]);
});

test("a stopped supervisor is found half-open and followed again when it goes on", { timeout: 30_000 }, async () => {
  const { link, count } = follow({ quietMs: 200, waitingQuietMs: 100, answerMs: 200, handshakeMs: 500 });
  await expect.poll(() => count("reset"), { timeout: 10_000 }).toBe(1);
  const pid = await site.supervisorPid(0);
  process.kill(pid, "SIGSTOP");
  // A machine with much else to do may have been taken for a half-open link before.
  const before = count("down");
  const answer = link.request("submit", submission("slow"), soon());
  await expect.poll(() => count("down"), { timeout: 10_000 }).toBeGreaterThan(before);
  process.kill(pid, "SIGCONT");
  expect(await answer).toEqual({ statement: 0 });
  expect(count("reset")).toBe(1);
  expect(workload.phase.phase).toBe("running");
});

test("a supervisor killed with 9 comes back under another epoch; ids go on and what was open is lost, with the reason", {
  timeout: 30_000,
}, async () => {
  const { link, count, events, records } = follow();
  for (const key of ["a", "b"]) await link.request("submit", submission(key), soon());
  await site.crash(claim);
  await expect.poll(() => count("reset"), { timeout: 10_000 }).toBe(2);
  const epochs = events.flatMap((event) => (event.type === "up" ? [event.hello.epoch] : []));
  expect(new Set(epochs).size).toBe(2);
  expect(await link.request("submit", submission("c"), soon())).toEqual({ statement: 2 });
  expect(await link.request("submit", submission("a"), soon())).toEqual({ statement: 0 });
  const outcomes = () => records().flatMap((record) => (record.type === "finished" ? [[record.statement, record.outcome]] : []));
  await expect.poll(outcomes, { timeout: 10_000 }).toEqual([
    [0, "lost"],
    [1, "lost"],
  ]);
});

test("two links are served at once, and a wrong key is refused", { timeout: 30_000 }, async () => {
  const [first, second] = [follow(), follow()];
  await first.link.request("submit", submission("shared"), soon());
  await expect.poll(() => second.queued(), { timeout: 10_000 }).toEqual(["shared"]);
  const stranger = openLink({ session: claim.uid, key: new Uint8Array(32), dial: (signal) => workload.dial(signal) });
  links.push(stranger);
  const heard: string[] = [];
  for await (const event of stranger.events()) heard.push(event.type);
  // It may have been told before why it is not up yet.
  expect([heard.at(-1), heard.includes("up")]).toEqual(["refused", false]);
});

test("64 MiB of code are queued", { timeout: 60_000 }, async () => {
  const { link, queued } = follow();
  const code = `#${"漢".repeat(22_000_000)}`;
  expect(await link.request("submit", submission("big", code), AbortSignal.timeout(40_000))).toMatchObject({ statement: 0 });
  await expect.poll(() => queued(), { timeout: 20_000 }).toEqual(["big"]);
});

test("the driver's last words arrive before the link ends", { timeout: 30_000 }, async () => {
  const { link, count, records, followed } = follow();
  await expect.poll(() => count("reset"), { timeout: 10_000 }).toBe(1);
  await link.request("close", { state: "success", reason: "done" }, soon());
  const ended = await reach(workload, "ended");
  await link.close();
  await followed;
  expect(ended).toMatchObject({ state: "success", reason: "done" });
  expect(records().at(-1)).toMatchObject({ type: "ending", state: "success", reason: "done" });
});
