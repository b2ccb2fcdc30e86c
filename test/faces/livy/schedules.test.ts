import { createHash } from "node:crypto";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Problem } from "../../../src/core/problems.ts";
import { Service } from "../service.ts";

const BATCH = { file: "hdfs:///app.py", conf: { "spark.my.password": "geheim" } };
const NIGHTLY = { name: "nightly", schedule: "* * * * *", batch: BATCH };
type Runs = { runs: { state: string; batch: number | null; reason: string | null }[] };

/** Moves the clock to the next minute. */
const minute = async (service: Service): Promise<void> => {
  service.launcher.now += 60_000;
  await service.launcher.schedules.tick();
};
const shownRuns = async (service: Service) => ((await service.ask("GET", "/schedules/nightly/runs")).body as Runs).runs;
const runs = async (service: Service, headers = {}) =>
  ((await service.ask("GET", "/schedules/nightly/runs", { headers })).body as Runs).runs.map(({ state, batch }) => [state, batch]);
const settles = async (service: Service, wanted: unknown): Promise<void> =>
  expect.poll(() => runs(service), { timeout: 5_000, interval: 5 }).toEqual(wanted);

describe("/schedules", () => {
  test("keeps no request that is nested too deeply to be written down", async () => {
    await using service = await Service.start();
    const deep = `${"[".repeat(9_000)}${"]".repeat(9_000)}`;
    const payload = `{"name":"deep","schedule":"* * * * *","batch":{"file":"hdfs:///app.py","more":${deep}}}`;
    const refused = await service.ask("POST", "/schedules", { payload, headers: { "content-type": "application/json" } });
    expect([refused.status, refused.text]).toEqual([400, expect.stringContaining("nested too deeply")]);
  });

  test("makes one and shows it, with the next time and without secrets", async () => {
    await using service = await Service.start();
    const made = await service.ask("POST", "/schedules", { body: { ...NIGHTLY, timeZone: "Europe/Berlin", concurrencyPolicy: "Forbid" } });
    expect([made.status, made.headers["location"], made.text.includes("geheim")]).toEqual([201, "/schedules/nightly", false]);
    const { uid } = made.body as { uid: string };
    expect(made.body).toMatchObject({
      ...{ name: "nightly", owner: null, timeZone: "Europe/Berlin", concurrencyPolicy: "Forbid", suspend: false, active: 0, lastMs: null },
      ...{ nextMs: expect.any(Number), startingDeadlineSeconds: null, successfulJobsHistoryLimit: 3, batch: { file: "hdfs:///app.py" } },
    });
    expect((await service.ask("GET", `/schedules/${uid}`)).body).toEqual((await service.ask("GET", "/schedules/nightly")).body);
    expect((await service.ask("GET", "/schedules")).body).toMatchObject({ total: 1, schedules: [{ name: "nightly" }] });
    expect((await service.ask("POST", "/schedules", { body: NIGHTLY })).body).toEqual({
      msg: "Rejected, Reason: Duplicate schedule name: nightly",
    });
  });

  test.each([
    [{ name: "Nightly!" }, "name must be"],
    [{ schedule: "61 * * * *" }, "schedule"],
    [{ timeZone: "Mars/Olympus" }, "timeZone"],
    [{ concurrencyPolicy: "Sometimes" }, "concurrencyPolicy"],
    [{ batch: {} }, "File is required"],
    [{ batch: { file: "hdfs:///a.py", preset: "none" } }, "Unknown preset"],
    [{ cron: "@daily" }, "cron"],
  ])("refuses %o", async (fields, message) => {
    await using service = await Service.start();
    const answer = await service.ask("POST", "/schedules", { body: { ...NIGHTLY, ...fields } });
    expect([answer.status, answer.text]).toEqual([400, expect.stringContaining(message)]);
    expect((await service.ask("GET", "/schedules")).body).toMatchObject({ total: 0 });
  });

  test("each run is a batch, whose end is the run's", async () => {
    await using service = await Service.start();
    await service.ask("POST", "/schedules", { body: NIGHTLY });
    await minute(service);
    await settles(service, [["running", 0]]);
    expect((await service.ask("GET", "/batches?schedule=nightly")).body).toMatchObject({
      ...{ total: 1, sessions: [{ id: 0, longwick: { schedule: { name: "nightly" } } }] },
    });
    expect((await service.ask("GET", "/batches?schedule=other")).body).toMatchObject({ total: 0 });
    const [run] = ((await service.ask("GET", "/schedules/nightly/runs")).body as { runs: { dueMs: number }[] }).runs;
    expect(service.launcher.specs[0]?.spec.conf).toMatchObject({
      "spark.my.password": "geheim",
      "spark.longwick.schedule.due": new Date(run?.dueMs ?? Number.NaN).toISOString(),
    });
    service.launcher.end(0, { state: "success", reason: "done" });
    await settles(service, [["success", 0]]);
    await minute(service);
    await settles(service, [
      ["success", 0],
      ["running", 1],
    ]);
    service.launcher.end(1, { state: "dead", reason: "no such luck" });
    await settles(service, [
      ["success", 0],
      ["failed", 1],
    ]);
    expect((await service.ask("GET", "/schedules/nightly/runs")).body).toMatchObject({ runs: [{}, { reason: "no such luck" }] });
  });

  test("a run that is refused has failed, with the reason", async () => {
    await using service = await Service.start({ limits: { maxSessions: 1 } });
    await service.ask("POST", "/batches", { body: BATCH });
    await service.ask("POST", "/schedules", { body: NIGHTLY });
    await minute(service);
    await settles(service, [["failed", null]]);
    expect((await service.ask("GET", "/schedules/nightly/runs")).text).toContain("too many sessions");
  });

  test("a batch that is deleted is not made again", async () => {
    await using service = await Service.start();
    await service.ask("POST", "/schedules", { body: NIGHTLY });
    await minute(service);
    await settles(service, [["running", 0]]);
    await service.ask("DELETE", "/batches/0");
    await settles(service, [["failed", 0]]);
    expect(service.launcher.specs).toHaveLength(1);
  });

  test("replaces a run that has not ended, and waits for its end", async () => {
    await using service = await Service.start();
    await service.ask("POST", "/schedules", { body: { ...NIGHTLY, concurrencyPolicy: "Replace" } });
    await minute(service);
    await settles(service, [["running", 0]]);
    await minute(service);
    await settles(service, [["running", 1]]);
    expect((await service.ask("GET", "/batches/0")).body).toMatchObject({ state: "killed" });
  });

  test("is suspended, changed and removed; what runs is ended with it", async () => {
    await using service = await Service.start();
    await service.ask("POST", "/schedules", { body: NIGHTLY });
    await minute(service);
    await settles(service, [["running", 0]]);
    const suspended = await service.ask("PATCH", "/schedules/nightly", { body: { suspend: true, batch: { file: "hdfs:///b.py" } } });
    expect([suspended.status, suspended.body]).toMatchObject([
      200,
      { suspend: true, nextMs: null, active: 1, batch: { file: "hdfs:///b.py" } },
    ]);
    await minute(service);
    await settles(service, [["running", 0]]);
    expect((await service.ask("PATCH", "/schedules/nightly", { body: { schedule: "never" } })).status).toBe(400);
    expect((await service.ask("DELETE", "/schedules/nightly")).body).toEqual({ msg: "deleted" });
    await expect
      .poll(async () => (await service.ask("GET", "/batches/0")).body, { timeout: 5_000 })
      .toMatchObject({ state: "killed", longwick: { reason: "Its run was replaced or deleted." } });
    const lost = await service.ask("GET", "/schedules/nightly");
    expect([lost.status, lost.body]).toEqual([404, { msg: "Schedule 'nightly' not found." }]);
  });

  test("take no batch as they show it, without its secrets", async () => {
    await using service = await Service.start();
    const made = await service.ask("POST", "/schedules", { body: NIGHTLY });
    const { batch } = made.body as { batch: object };
    const refused = await service.ask("PATCH", "/schedules/nightly", { body: { batch } });
    expect([refused.status, refused.text]).toEqual([400, expect.stringContaining("send the secret itself")]);
    expect((await service.ask("POST", "/schedules", { body: { ...NIGHTLY, name: "other", batch } })).status).toBe(400);
    await minute(service);
    await settles(service, [["running", 0]]);
    const [run] = ((await service.ask("GET", "/schedules/nightly/runs")).body as { runs: { dueMs: number }[] }).runs;
    expect(service.launcher.specs[0]?.spec.conf).toMatchObject({
      "spark.my.password": "geheim",
      "spark.longwick.schedule.due": new Date(run?.dueMs ?? Number.NaN).toISOString(),
    });
  });

  test("whose time was written by other hands is shown, can be suspended and be given another time", async () => {
    await using service = await Service.start();
    await service.ask("POST", "/schedules", { body: NIGHTLY });
    const own = service.schedules.find("nightly", { name: null, remote: null }, "view");
    await service.launcher.schedules.change(own, { timing: { schedule: "@every 2h" } });
    expect((await service.ask("GET", "/schedules/nightly")).body).toMatchObject({ schedule: "@every 2h", nextMs: null });
    expect((await service.ask("PATCH", "/schedules/nightly", { body: { suspend: true } })).body).toMatchObject({ suspend: true });
    expect((await service.ask("PATCH", "/schedules/nightly", { body: { timeZone: "Europe/Berlin" } })).status).toBe(400);
    const mended = await service.ask("PATCH", "/schedules/nightly", { body: { schedule: "@hourly", suspend: false } });
    expect(mended.body).toMatchObject({ schedule: "@hourly", nextMs: expect.any(Number) });
  });

  test("runs as its owner, who must still be known when it begins; others neither see nor change it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "longwick-owners-"));
    const tokensFile = join(directory, "tokens");
    const line = (user: string) => `${createHash("sha256").update(`token-of-${user}`).digest("hex")} ${user}\n`;
    writeFileSync(tokensFile, line("ann") + line("bob") + line("root"));
    try {
      await using service = await Service.start({ tokensFile, access: { superusers: ["root"] } });
      const as = (user: string) => ({ headers: { authorization: `Bearer token-of-${user}` } });
      expect((await service.ask("POST", "/schedules", { body: NIGHTLY, ...as("ann") })).body).toMatchObject({ owner: "ann" });
      expect((await service.ask("GET", "/schedules", as("bob"))).body).toMatchObject({ total: 0 });
      expect((await service.ask("GET", "/schedules/nightly", as("bob"))).status).toBe(403);
      expect((await service.ask("DELETE", "/schedules/nightly", as("bob"))).status).toBe(403);
      await minute(service);
      const seen = () => runs(service, as("root").headers);
      await expect.poll(seen, { timeout: 5_000 }).toEqual([["running", 0]]);
      expect((await service.ask("GET", "/batches/0", as("ann"))).body).toMatchObject({ owner: "ann" });
      writeFileSync(tokensFile, line("bob") + line("root"));
      await minute(service);
      await expect.poll(seen, { timeout: 5_000 }).toEqual([
        ["running", 0],
        ["failed", null],
      ]);
      expect((await service.ask("GET", "/schedules/nightly/runs", as("root"))).text).toContain("User 'ann' is not known here any more.");
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("are as many for each user as the limit allows, suspended ones too", async () => {
    await using service = await Service.start({ limits: { maxSchedulesPerUser: 2 } });
    const make = (name: string) => service.ask("POST", "/schedules", { body: { ...NIGHTLY, name, suspend: true } });
    const answers = await Promise.all(["a", "b", "c"].map(make));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 201, 400]);
    const refused = await make("d");
    expect([refused.status, refused.body]).toEqual([
      400,
      { msg: "Rejected, too many schedules of this server: the limit per user is 2. Delete one that is not needed." },
    ]);
    const [, first] = answers.filter(({ status }) => status === 201).map(({ body }) => (body as { name: string }).name);
    expect((await service.ask("PATCH", `/schedules/${first}`, { body: { suspend: false } })).status).toBe(200);
    await service.ask("DELETE", `/schedules/${first}`);
    expect((await make("d")).status).toBe(201);
  });

  test("keep the uploads that they name, until they name others or are removed", async () => {
    const directory = mkdtempSync(join(tmpdir(), "longwick-uploads-"));
    try {
      await using service = await Service.start({ uploads: { directory } });
      const upload = async (name: string): Promise<{ id: string; uri: string }> => {
        const payload = `--b\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\n\r\nx\r\n--b--\r\n`;
        const sent = await service.ask("POST", "/uploads", { headers: { "content-type": "multipart/form-data; boundary=b" }, payload });
        return sent.body as { id: string; uri: string };
      };
      const [app, wheel, jar] = [await upload("app.py"), await upload("a.whl"), await upload("a.jar")];
      const batch = { file: app.uri, pyFiles: [wheel.uri], conf: { "spark.jars": `hdfs:///b.jar, ${jar.uri}` } };
      expect((await service.ask("POST", "/schedules", { body: { ...NIGHTLY, batch } })).status).toBe(201);
      for (const { id } of [app, wheel, jar]) {
        const refused = await service.ask("DELETE", `/uploads/${id}`);
        expect([refused.status, refused.text]).toEqual([409, expect.stringContaining("a schedule")]);
      }
      await service.ask("PATCH", "/schedules/nightly", { body: { batch: { file: app.uri } } });
      expect((await service.ask("DELETE", `/uploads/${wheel.id}`)).status).toBe(200);
      await service.ask("DELETE", "/schedules/nightly");
      expect((await service.ask("DELETE", `/uploads/${app.id}`)).status).toBe(200);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("a run that cannot begin now says why, and begins when it can; past its deadline it is left out", async () => {
    await using service = await Service.start();
    service.launcher.refusing = new Problem("DRIVER_UNREACHABLE", "The claim cannot be stored.");
    await service.ask("POST", "/schedules", { body: { ...NIGHTLY, startingDeadlineSeconds: 60 } });
    const waits = { state: "waiting", batch: null, reason: "The claim cannot be stored." };
    await minute(service);
    await expect.poll(() => shownRuns(service), { timeout: 5_000 }).toMatchObject([waits]);
    service.launcher.refusing = null;
    await settles(service, [["running", 0]]);
    service.launcher.end(0, { state: "success", reason: "done" });
    await settles(service, [["success", 0]]);
    service.launcher.refusing = new Problem("DRIVER_UNREACHABLE", "The claim cannot be stored.");
    await minute(service);
    await expect.poll(() => shownRuns(service), { timeout: 5_000 }).toMatchObject([{}, waits]);
    await service.ask("PATCH", "/schedules/nightly", { body: { suspend: true } });
    service.launcher.now += 120_000;
    service.launcher.refusing = null;
    await settles(service, [
      ["success", 0],
      ["failed", null],
    ]);
    expect((await shownRuns(service))[1]?.reason).toBe("It could not begin within 60 s of when it was due, its startingDeadlineSeconds.");
    expect(service.launcher.specs).toHaveLength(1);
  });

  test("removed while the batch of its run is being claimed, ends that", async () => {
    await using service = await Service.start();
    const { launcher } = service;
    const answered = Promise.withResolvers<void>();
    launcher.answering = answered.promise;
    await service.ask("POST", "/schedules", { body: NIGHTLY });
    await minute(service);
    await service.until(() => launcher.specs.length === 1);
    await service.ask("DELETE", "/schedules/nightly");
    answered.resolve();
    // The claim was made, whoever waited for its answer: the watch tells of it.
    const [draft] = launcher.specs;
    const { owner, notes, uid } = draft ?? expect.fail("nothing was claimed");
    launcher.told.known({ id: 0, uid, owner, notes, spec: draft?.spec ?? expect.fail(), createdMs: 0, attempts: [], end: null });
    await expect
      .poll(async () => (await service.ask("GET", "/batches/0")).body, { timeout: 5_000 })
      .toMatchObject({ state: "killed", longwick: { reason: "Its run was replaced or deleted." } });
  });

  test("makes no second batch of a run whose first could not be written down and is gone", async () => {
    await using service = await Service.start();
    const { launcher } = service;
    const answered = Promise.withResolvers<void>();
    launcher.answering = answered.promise;
    await service.ask("POST", "/schedules", { body: { ...NIGHTLY, concurrencyPolicy: "Forbid" } });
    await minute(service);
    await service.until(() => launcher.specs.length === 1);
    const away = `${launcher.schedulesDirectory}.away`;
    renameSync(launcher.schedulesDirectory, away);
    try {
      answered.resolve();
      await expect
        .poll(() => shownRuns(service), { timeout: 5_000 })
        .toMatchObject([{ state: "running", batch: 0, reason: expect.stringContaining("cannot store") }]);
      launcher.end(0, { state: "success", reason: "done" });
      await expect.poll(async () => (await service.ask("GET", "/batches/0")).body, { timeout: 5_000 }).toMatchObject({ state: "success" });
      expect((await service.ask("DELETE", "/batches/0")).status).toBe(200);
    } finally {
      renameSync(away, launcher.schedulesDirectory);
    }
    await settles(service, [["success", 0]]);
    expect(launcher.specs).toHaveLength(1);
  });
});
