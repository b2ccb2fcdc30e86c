import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type AuditEvent, onAudit } from "../../../src/core/events.ts";
import { NO_LIMITS, presetOf } from "../../launch/contract.ts";
import { Service } from "../service.ts";

const directory = mkdtempSync(join(tmpdir(), "longwick-presets-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const SMALL = presetOf({
  ...{ name: "small", displayName: "Small", description: "For looking around.", kind: "pyspark", ttlMs: 7_200_000, idleTimeoutMs: 60_000 },
  conf: { "spark.driver.memory": "2g", "spark.executor.instances": "3", "spark.hadoop.fs.s3a.secret.key": "hunter2" },
  limits: { ...NO_LIMITS, sessionsPerUser: 1, driverMemory: "8g" },
});
const LARGE = presetOf({ name: "large", users: ["ann"] });
const presets = [SMALL, LARGE];

describe("a session with a preset", () => {
  test.each([
    ["the field", { preset: "small" }],
    ["the conf of clients that can set nothing else", { conf: { "spark.longwick.preset": "small" } }],
    ["the field before the conf", { preset: "small", conf: { "spark.longwick.preset": "nosuch" } }],
  ])("is asked for by %s", async (_, body) => {
    await using service = await Service.start({ presets });
    const { status, body: session } = await service.ask("POST", "/sessions", { body });
    expect(status).toBe(201);
    expect(session).toMatchObject({ kind: "pyspark", conf: {}, driverMemory: null, log: [], longwick: { preset: "small" } });
    const { preset, conf, ttlMs, idleTimeoutMs } = service.launcher.specs[0]?.spec ?? {};
    expect(preset).toEqual({ name: "small", conf: SMALL.conf, limits: SMALL.limits });
    expect([conf, ttlMs, idleTimeoutMs]).toEqual([{}, 7_200_000, 60_000]);
    expect(JSON.stringify([session, (await service.ask("GET", "/sessions/0")).body])).not.toContain("hunter2");
  });

  test("asks for what it likes above it", async () => {
    await using service = await Service.start({ presets });
    const body = { preset: "small", kind: "sql", ttl: "1h", driverMemory: "4g", conf: { "spark.a": "1" } };
    expect((await service.ask("POST", "/sessions", { body })).body).toMatchObject({ kind: "sql", ttl: "1h", driverMemory: "4g" });
    expect(service.launcher.specs[0]?.spec).toMatchObject({ ttlMs: 3_600_000, conf: { "spark.a": "1" } });
  });

  test("has the default one when it names none, and no way to have none", async () => {
    await using service = await Service.start({ presets, defaultPreset: "large" });
    for (const [id, body] of [{}, { preset: null }, { preset: "" }, { conf: { "spark.longwick.preset": "" } }].entries()) {
      await service.ask("POST", "/sessions", { body });
      expect((await service.ask("GET", `/sessions/${id}`)).body).toMatchObject({ longwick: { preset: "large" } });
    }
    await using without = await Service.start({ presets });
    expect((await without.ask("POST", "/sessions", { body: { preset: "" } })).body).toMatchObject({ longwick: { preset: null } });
  });

  test.each([
    [{ preset: "smal" }, "Rejected, Reason: Unknown preset 'smal': there are small, large"],
    [{ conf: { "spark.longwick.preset": 1 } }, "Rejected, Reason: Unknown preset '1': there are small, large"],
    [{ preset: "a\nb" }, "Rejected, Reason: Invalid preset: a\u{FFFD}b"],
    [{ preset: 1 }, "preset must be text."],
  ])("%j is a 400", async (body, msg) => {
    await using service = await Service.start({ presets });
    expect(await service.ask("POST", "/sessions", { body })).toMatchObject({ status: 400, body: { msg } });
  });

  test("over its limit per user is refused with the limit, until one of them has ended; others have a count of their own", async () => {
    const htpasswdFile = join(directory, "users");
    const hash = createHash("sha1").update("x").digest("base64");
    writeFileSync(htpasswdFile, `ann:{SHA}${hash}\nbob:{SHA}${hash}\n`);
    await using service = await Service.start({ presets, htpasswdFile });
    const create = (user: string, preset: string | null, query = "") => {
      const headers = { authorization: `Basic ${Buffer.from(`${user}:x`).toString("base64")}` };
      return service.ask("POST", `/sessions${query}`, { headers, body: { preset } });
    };
    expect((await create("ann", "small")).status).toBe(201);
    const msg = "Rejected, too many sessions of ann with preset 'small': its limit per user is 1.";
    expect(await create("ann", "small")).toMatchObject({ status: 400, body: { msg } });
    expect(await create("ann", "small", "?dryRun=true")).toMatchObject({ status: 400, body: { msg } });
    expect((await create("ann", "large")).status).toBe(201);
    expect((await create("ann", null)).status).toBe(201);
    expect((await create("bob", "small")).status).toBe(201);
    expect(await create("bob", "large")).toMatchObject({
      status: 403,
      body: { msg: expect.stringContaining("may not use preset 'large'") },
    });
    const headers = { authorization: `Basic ${Buffer.from("ann:x").toString("base64")}` };
    expect((await service.ask("POST", "/sessions/0/stop", { headers })).status).toBe(204);
    expect((await create("ann", "small")).status).toBe(201);
  });

  test("two at once do not slip past the limit", async () => {
    await using service = await Service.start({ presets });
    const body = { preset: "small" };
    const answers = await Promise.all([1, 2, 3].map(() => service.ask("POST", "/sessions", { body })));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 400, 400]);
  });
});

test("GET /presets lists those one may choose, with sizes and limits and without their conf", async () => {
  await using service = await Service.start({ presets, defaultPreset: "small" });
  const { status, body, text } = await service.ask("GET", "/presets");
  expect(status).toBe(200);
  const none = { driverMemory: null, driverCores: 0, executorMemory: null, executorCores: 0, numExecutors: 0 };
  expect(body).toEqual({
    presets: [
      {
        ...{ name: "small", displayName: "Small", description: "For looking around.", default: true, kind: "pyspark" },
        ...{ ...none, driverMemory: "2g", numExecutors: 3 },
        limits: { ...none, sessionsPerUser: 1, driverMemory: "8g" },
      },
      {
        name: "large",
        displayName: "large",
        description: "",
        default: false,
        kind: null,
        ...none,
        limits: { ...none, sessionsPerUser: 0 },
      },
    ],
  });
  expect(text).not.toContain("hunter2");
});

describe("a dry run", () => {
  test("answers 200 with what would be started, and starts nothing", async () => {
    await using service = await Service.start({ presets });
    const events: AuditEvent[] = [];
    const off = onAudit((event) => events.push(event));
    const body = { preset: "small", name: "alpha", nosuch: 1, conf: { "spark.a": 1 } };
    for (const query of ["?dryRun=true", "/?dryRun"]) {
      const answer = await service.ask("POST", `/sessions${query}`, { body });
      expect(answer.status).toBe(200);
      expect(answer.headers["location"]).toBeUndefined();
      expect(answer.body).toEqual({
        ...{ owner: null, name: "alpha", proxyUser: null, kind: "pyspark", preset: "small", ttlMs: 7_200_000, idleTimeoutMs: 60_000 },
        log: ["Unknown field 'nosuch' of the request is ignored."],
        ...{ conf: {}, jars: [], pyFiles: [], files: [], archives: [], workload: {} },
      });
    }
    off();
    expect(service.launcher.planned[0]?.spec.conf).toEqual({ "spark.a": "1" });
    expect([service.launcher.drivers, events]).toEqual([[], []]);
    expect((await service.ask("GET", "/sessions")).body).toMatchObject({ total: 0 });
    expect((await service.ask("POST", "/sessions?dryRun=false", { body })).status).toBe(201);
  });

  test("is refused as the session would be", async () => {
    await using service = await Service.start({ presets });
    await service.ready({ kind: "pyspark", name: "alpha" });
    const refusal = async (body: object) => {
      const answers = [await service.ask("POST", "/sessions?dryRun=true", { body }), await service.ask("POST", "/sessions", { body })];
      expect(answers[0]?.status).toBe(answers[1]?.status);
      expect(answers[0]?.body).toEqual(answers[1]?.body);
      return answers[0]?.body;
    };
    expect(await refusal({ name: "alpha" })).toEqual({ msg: "Rejected, Reason: Duplicate session name: alpha for session 0" });
    expect(await refusal({ kind: "cobol" })).toEqual({ msg: expect.stringMatching(/^Invalid kind: cobol\. /) });
    expect(await refusal({ files: ["/etc/passwd"] })).toMatchObject({ msg: expect.stringContaining("/etc/passwd") });
    expect(await refusal({ preset: "smal" })).toMatchObject({ msg: expect.stringContaining("Unknown preset") });
    service.sessions.drain();
    expect(await refusal({})).toMatchObject({ msg: expect.stringContaining("shutting down") });
  });

  test("is true or false", async () => {
    await using service = await Service.start();
    expect(await service.ask("POST", "/sessions?dryRun=yes", { body: {} })).toMatchObject({
      ...{ status: 400, body: { msg: "dryRun must be true or false." } },
    });
    expect(service.launcher.drivers).toEqual([]);
  });
});
