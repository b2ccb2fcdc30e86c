import { describe, expect, test } from "vitest";
import { type AuditEvent, onAudit } from "../../../src/core/events.ts";
import { Service } from "../service.ts";

const LIVY_FIELDS = [
  ...["appId", "appInfo", "archives", "conf", "driverCores", "driverMemory", "executorCores", "executorMemory", "files"],
  ...["heartbeatTimeoutInSecond", "id", "idleTimeout", "jars", "kind", "log", "name", "numExecutors", "owner", "proxyUser", "pyFiles"],
  ...["queue", "state", "ttl"],
];

describe("creating a session", () => {
  test("answers 201, a path to it, and Livy's fields with ours in one object", async () => {
    await using service = await Service.start();
    const { status, headers, body } = await service.ask("POST", "/sessions", {
      body: { kind: "pyspark", name: "alpha", conf: { "spark.ui.enabled": false }, heartbeatTimeoutInSecond: "60", ttl: "2h", nosuch: 1 },
    });
    expect(status).toBe(201);
    expect(headers["location"]).toBe("/sessions/0");
    expect(Object.keys(body as object).sort()).toEqual([...LIVY_FIELDS, "longwick"].sort());
    expect(body).toMatchObject({
      ...{ id: 0, name: "alpha", appId: null, owner: null, proxyUser: null, state: "starting", kind: "pyspark" },
      appInfo: { driverLogUrl: "http://localhost:8998/sessions/0/driver-log", sparkUiUrl: null, executorLogUrls: null },
      conf: { "spark.ui.enabled": "false" },
      ...{ log: ["Unknown field 'nosuch' of the request is ignored."], heartbeatTimeoutInSecond: 60, ttl: "2h", driverCores: 0 },
    });
  });

  test("gives Livy's old Java client the nine fields it can read, everywhere", async () => {
    await using service = await Service.start();
    const headers = { "user-agent": "livy-client-http/0.7.1" };
    const nine = ["appId", "appInfo", "id", "kind", "log", "name", "owner", "proxyUser", "state"];
    const answers = [
      await service.ask("POST", "/sessions/", { headers, body: { conf: {} } }),
      await service.ask("GET", "/sessions/0", { headers }),
      await service.ask("POST", "/sessions/0/connect", { headers }),
    ];
    for (const { body } of answers) expect(Object.keys(body as object).sort()).toEqual(nine);
    expect(answers[0]?.body).toMatchObject({ kind: "shared" });
  });

  test("never shows a secret conf value again", async () => {
    await using service = await Service.start();
    const { text } = await service.ask("POST", "/sessions", {
      body: { conf: { "spark.hadoop.fs.s3a.secret.key": "hunter2", "spark.x": "y" } },
    });
    expect(text).not.toContain("hunter2");
    expect(service.launcher.specs[0]?.spec.conf).toEqual({ "spark.hadoop.fs.s3a.secret.key": "hunter2", "spark.x": "y" });
    expect(JSON.stringify(service.lines)).not.toContain("hunter2");
  });

  test("never shows the credentials of its addresses again, and takes no address that was shown for the one meant", async () => {
    await using service = await Service.start();
    const uri = "https://ada:hush@host/x.jar?X-Amz-Signature=hush";
    const asked = { jars: [uri], conf: { "spark.jars.repositories": uri } };
    const { text, body } = await service.ask("POST", "/sessions", { body: asked });
    expect(text).not.toContain("hush");
    expect((await service.ask("GET", "/sessions")).text).not.toContain("hush");
    expect(service.launcher.specs[0]?.spec).toMatchObject(asked);
    const { jars } = body as { jars: string[] };
    expect(jars).toEqual(["https://*********(redacted)@host/x.jar?X-Amz-Signature=*********(redacted)"]);
    for (const again of [{ jars }, { conf: { "spark.x": jars[0] } }]) {
      const refused = await service.ask("POST", "/sessions", { body: again });
      expect(refused).toMatchObject({
        status: 400,
        body: { msg: expect.stringMatching(/^(jars|conf spark.x) holds .* send the secret itself/) },
      });
    }
    const { body: batch } = await service.ask("POST", "/batches", { body: { file: uri, args: [uri] } });
    expect(batch).toMatchObject({ longwick: { file: jars[0], args: jars } });
    expect(service.launcher.specs[1]?.spec.application).toMatchObject({ file: uri, args: [uri] });
    expect((await service.ask("POST", "/batches", { body: { file: jars[0] } })).status).toBe(400);
    const twice = await service.ask("POST", "/sessions", { body: { jars: [`${uri},b`] } });
    expect(twice).toMatchObject({ status: 400, body: { msg: expect.stringContaining("holds a comma") } });
    expect(twice.text).not.toContain("hush");
    expect(JSON.stringify(service.lines)).not.toContain("hush");
  });

  test("with a taken name is refused in Livy's words, and the name is free again after a delete", async () => {
    await using service = await Service.start();
    const body = { kind: "pyspark", name: "alpha" };
    await service.ask("POST", "/sessions", { body });
    const again = await service.ask("POST", "/sessions", { body });
    expect(again).toMatchObject({ status: 400, body: { msg: "Rejected, Reason: Duplicate session name: alpha for session 0" } });
    expect((await service.ask("DELETE", "/sessions/alpha")).body).toEqual({ msg: "deleted" });
    expect((await service.ask("POST", "/sessions", { body })).status).toBe(201);
  });

  test("that is refused leaves no session and no driver behind", async () => {
    await using service = await Service.start();
    for (const body of [{ name: "123" }, { kind: "cobol" }, { ttl: "soon" }, { files: ["/etc/passwd"] }, { kind: "spark" }]) {
      expect((await service.ask("POST", "/sessions", { body })).status).toBe(400);
    }
    expect(service.launcher.drivers).toEqual([]);
  });

  test.each([
    ["a proxyUser nobody may use is ignored aloud", {}, { proxyUser: "bob" }, 201, /proxyUser 'bob' is ignored/],
    ["impersonation needs a right", { impersonation: true }, { proxyUser: "bob" }, 403, /impersonate 'bob'/],
  ])("%s", async (_, changed, fields, status, words) => {
    const spec = { kinds: ["pyspark" as const], refusedConf: [], idleTimeoutMs: 0, ttlMs: 0, impersonation: false, ...changed };
    await using service = await Service.start({ livy: { spec } });
    const answer = await service.ask("POST", "/sessions", { body: fields });
    expect(answer.status).toBe(status);
    expect(answer.text).toMatch(words);
  });
});

describe("looking at sessions", () => {
  test("a list pages by position, echoes from, and counts all", async () => {
    await using service = await Service.start();
    for (let id = 0; id < 3; id += 1) await service.ask("POST", "/sessions", { body: {} });
    const list = async (query: string) => {
      const { body } = await service.ask("GET", `/sessions${query}`);
      const { from, total, sessions } = body as { from: number; total: number; sessions: { id: number }[] };
      return [from, total, sessions.map(({ id }) => id)];
    };
    expect(await list("")).toEqual([0, 3, [0, 1, 2]]);
    expect(await list("/?from=1&size=1")).toEqual([1, 3, [1]]);
    expect(await list("?from=-1")).toEqual([-1, 3, [0, 1, 2]]);
    expect(await list("?size=-1")).toEqual([0, 3, []]);
    expect(await list("?from=9&from=1")).toEqual([9, 3, []]);
    expect(await list("?nosuch=1&size=%2B2")).toEqual([0, 3, [0, 1]]);
  });

  test("a session shows what its driver said as soon as it said it", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    expect((await service.ask("GET", `/sessions/${id}`)).body).toMatchObject({
      ...{ state: "idle", appId: "local-1", appInfo: { sparkUiUrl: "http://localhost:8998/sessions/0/ui/" } },
      longwick: { uid: driver.session, spark: "4.0.1", python: "3.11.9", executors: 0, endedMs: 0, reason: null },
    });
    driver.emit("executors", { count: 2 });
    driver.log(...Array.from({ length: 12 }, (_, line) => `line ${line}`));
    await service.until(() => service.sessions.find(String(id), { name: null, remote: null }, "view").logTotal === 12);
    const { body } = await service.ask("GET", `/sessions/${id}`);
    expect(body).toMatchObject({ longwick: { executors: 2 } });
    expect((body as { log: string[] }).log).toEqual(Array.from({ length: 10 }, (_, line) => `line ${line + 2}`));
    expect((await service.ask("GET", `/sessions/${id}/state`)).body).toEqual({ id, state: "idle" });
  });

  test("a log is read from its end, from a position, or whole", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    driver.log("a", "b", "c");
    await service.until(() => service.sessions.find(String(id), { name: null, remote: null }, "view").logTotal === 3);
    const log = async (query: string) => {
      const { from, total, log: lines } = (await service.ask("GET", `/sessions/${id}/log${query}`)).body as Record<string, unknown>;
      return [from, total, lines];
    };
    expect(await log("")).toEqual([0, 3, ["a", "b", "c"]]);
    expect(await log("?size=2")).toEqual([1, 3, ["b", "c"]]);
    expect(await log("?from=-1&size=2")).toEqual([1, 3, ["b", "c"]]);
    expect(await log("?from=0&size=2")).toEqual([0, 3, ["a", "b"]]);
    expect(await log("?from=1&size=-1")).toEqual([1, 3, ["b", "c"]]);
    expect(await log("?size=0")).toEqual([3, 3, []]);
    expect(await log("?from=99999&size=5")).toEqual([99999, 3, []]);
  });

  test.each([
    ["/sessions/9999", 404, "Session '9999' not found."],
    ["/sessions/-1", 404, "Session '-1' not found."],
    ["/sessions/nosuch/state", 404, "Session 'nosuch' not found."],
    ["/sessions/99999999999", 400, 'For input string: "99999999999"'],
    ["/sessions?from=abc", 400, 'For input string: "abc"'],
    ["/sessions?size=", 400, 'For input string: ""'],
    ["/sessions?from=99999999999", 400, 'For input string: "99999999999"'],
  ])("%s answers %i %s", async (path, status, msg) => {
    await using service = await Service.start();
    expect(await service.ask("GET", path)).toMatchObject({ status, body: { msg } });
  });

  test("an address below a session that is none does not speak of the session: clients tell an old Livy by it", async () => {
    await using service = await Service.start();
    const { status, text } = await service.ask("GET", "/sessions/9999/nosuch");
    expect(status).toBe(404);
    expect(text).not.toMatch(/session '9999' not found/i);
  });
});

describe("ending a session", () => {
  test("delete answers with a body, with or without one sent, while starting too; then it is gone", async () => {
    await using service = await Service.start();
    service.launcher.listening = false;
    await service.ask("POST", "/sessions", { body: {} });
    await service.ask("POST", "/sessions", { body: {} });
    const json = { "content-type": "application/json" };
    expect(await service.ask("DELETE", "/sessions/0", { headers: json })).toMatchObject({ status: 200, body: { msg: "deleted" } });
    expect(await service.ask("DELETE", "/sessions/1", { headers: json, body: {} })).toMatchObject({
      status: 200,
      body: { msg: "deleted" },
    });
    expect(await service.ask("DELETE", "/sessions/1")).toMatchObject({ status: 404, body: { msg: "Session '1' not found." } });
  });

  test("stop answers 204 and leaves it listed as dead, with its reason; statements are then refused for good", async () => {
    await using service = await Service.start();
    const { id } = await service.ready();
    expect(await service.ask("POST", `/sessions/${id}/stop`)).toMatchObject({ status: 204, text: "" });
    expect((await service.ask("GET", `/sessions/${id}`)).body).toMatchObject({ state: "dead", longwick: { reason: "it was stopped" } });
    expect(await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "1" } })).toMatchObject({
      ...{ status: 400, body: { msg: "Session is in state dead" } },
    });
    expect((await service.ask("GET", `/sessions/${id}/statements`)).body).toEqual({ total_statements: 0, statements: [] });
    expect((await service.ask("POST", `/sessions/${id}/connect`)).status).toBe(200);
  });

  test("interrupt interrupts and keeps the session", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    expect(await service.ask("POST", `/sessions/${id}/interrupt`)).toMatchObject({ status: 200, body: { msg: "interrupted" } });
    expect(driver.requests.some(({ frame }) => frame === "interrupt")).toBe(true);
    expect((await service.ask("GET", `/sessions/${id}/state`)).body).toEqual({ id, state: "idle" });
  });
});

test("every create, submit, cancel, delete and refusal is audited, without the code", async () => {
  const spec = { kinds: ["pyspark" as const], refusedConf: [], idleTimeoutMs: 0, ttlMs: 0, impersonation: true };
  await using service = await Service.start({ livy: { spec } });
  const events: AuditEvent[] = [];
  const off = onAudit((event) => events.push(event));
  const { id } = await service.ready({ kind: "pyspark", name: "alpha" }, { remote: "127.0.0.7" });
  await service.ask("POST", "/sessions/alpha/statements", { body: { code: "secret()" } });
  await service.ask("POST", "/sessions/alpha/statements/0/cancel");
  await service.ask("POST", "/sessions", { body: { files: ["/etc/passwd"] } });
  await service.ask("POST", "/sessions", { body: { proxyUser: "bob" } });
  await service.ask("POST", "/sessions", { body: { name: "alpha" } });
  await service.ask("DELETE", "/sessions/alpha");
  await service.ask("DELETE", "/sessions/alpha");
  await service.ask("GET", "/sessions/alpha");
  off();
  const plain = { user: null, remote: "127.0.0.1", proxyUser: null, session: id, statement: null, problem: null };
  expect(events).toEqual([
    { ...plain, action: "create", remote: "127.0.0.7" },
    { ...plain, action: "submit", statement: 0 },
    { ...plain, action: "cancel", statement: 0 },
    { ...plain, action: "refuse", session: null, problem: "SPEC_REFUSED" },
    { ...plain, action: "refuse", session: null, proxyUser: "bob", problem: "FORBIDDEN" },
    { ...plain, action: "refuse", session: null, problem: "NAME_TAKEN" },
    { ...plain, action: "delete" },
    { ...plain, action: "refuse", session: null, problem: "SESSION_NOT_FOUND" },
  ]);
});
