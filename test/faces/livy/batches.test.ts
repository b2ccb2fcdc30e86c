import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type AuditEvent, onAudit } from "../../../src/core/events.ts";
import { NO_SPEC } from "../../../src/core/spec.ts";
import { Service } from "../service.ts";

const FILE = { file: "hdfs:///app.py", args: ["a"] };
type Made = { id: number; longwick: { uid: string } };

describe("/batches", () => {
  test("answers Livy's eight fields, and ours in one object", async () => {
    await using service = await Service.start();
    const created = await service.ask("POST", "/batches", { body: { ...FILE, name: "job", conf: { "spark.my.password": "p" } } });
    expect([created.status, created.headers["location"]]).toEqual([201, "/batches/0"]);
    expect(created.body).toEqual({
      ...{ id: 0, name: "job", owner: null, proxyUser: null, state: "running", appId: null, log: [] },
      appInfo: { driverLogUrl: "http://localhost:8998/batches/0/driver-log", sparkUiUrl: null, executorLogUrls: null },
      longwick: expect.objectContaining({
        file: "hdfs:///app.py",
        args: ["a"],
        attempts: [expect.objectContaining({ attempt: 1, state: null })],
      }),
    });
    expect(created.text).not.toContain('"p"');
    expect((await service.ask("GET", "/batches/job")).body).toMatchObject({ id: 0 });
    expect((await service.ask("GET", "/batches/0/state")).body).toEqual({ id: 0, state: "running" });
    expect((await service.ask("GET", "/batches/")).body).toMatchObject({ from: 0, total: 1, sessions: [{ id: 0 }] });
    expect((await service.ask("GET", "/batches?from=1&size=5")).body).toEqual({ from: 1, total: 1, sessions: [] });
    expect((await service.ask("GET", "/batches/0/executors")).body).toEqual({ executors: [] });
    expect((await service.ask("GET", "/batches/0/executors/x/log")).status).toBe(404);
    expect((await service.ask("DELETE", "/batches/0", { headers: { "content-type": "application/json" } })).body).toEqual({
      msg: "deleted",
    });
    expect((await service.ask("GET", "/batches/0")).body).toEqual({ msg: "Session '0' not found." });
  });

  test("and /sessions share their ids and names, and show each other's to nobody", async () => {
    await using service = await Service.start();
    const { id } = await service.ready({ kind: "pyspark", name: "shared" });
    const made = (await service.ask("POST", "/batches", { body: FILE })).body as Made;
    expect(made.id).toBe(id + 1);
    for (const path of [`/sessions/${made.id}`, `/sessions/${made.id}/statements`, `/batches/${id}`, "/batches/shared"])
      expect((await service.ask("GET", path)).status).toBe(404);
    expect((await service.ask("GET", "/sessions")).body).toMatchObject({ total: 1 });
    expect((await service.ask("POST", "/batches", { body: { ...FILE, name: "shared" } })).status).toBe(400);
    expect((await service.ask("GET", "/batches/99999999999")).status).toBe(400);
  });

  test("with an Idempotency-Key makes one batch of a request that is repeated, at once or later, for each owner", async () => {
    await using service = await Service.start({ limits: { maxSessions: 2 } });
    const ask = (key: string) => service.ask("POST", "/batches", { body: FILE, headers: { "idempotency-key": key } });
    const made = await Promise.all([ask("k"), ask("k"), ask("k")]);
    expect(new Set(made.map(({ status, body }) => `${status} ${(body as Made).id}`))).toEqual(new Set(["201 0"]));
    expect((await ask("other")).body).toMatchObject({ id: 1 });
    // What was accepted is not refused for want of room when it is asked for again.
    expect([(await ask("third")).status, (await ask("k")).status]).toEqual([400, 201]);
    expect((await ask("no key")).status).toBe(400);
    expect(service.launcher.specs).toHaveLength(2);
  });

  test("is the same one under its key when its file is gone by then", async () => {
    const directory = mkdtempSync(join(realpathSync(tmpdir()), "longwick-app-"));
    await using service = await Service.start({ livy: { paths: { driversAreHere: true, localDirs: [directory], uploads: null } } });
    const file = join(directory, "app.py");
    writeFileSync(file, "print(1)");
    const ask = (headers: Record<string, string>) => service.ask("POST", "/batches", { body: { file }, headers });
    expect(await ask({ "idempotency-key": "k" })).toMatchObject({ status: 201, body: { id: 0 } });
    rmSync(directory, { recursive: true });
    expect(await ask({ "idempotency-key": "k" })).toMatchObject({ status: 201, body: { id: 0 } });
    expect((await ask({})).status).toBe(400);
    expect(service.launcher.specs).toHaveLength(1);
  });

  test("whose end is refused is named by the audit and by the log", async () => {
    await using service = await Service.start();
    const refused: AuditEvent[] = [];
    const off = onAudit((event) => refused.push(event));
    await service.ask("DELETE", "/batches/7");
    off();
    expect(refused).toMatchObject([{ action: "refuse", session: 7, problem: "SESSION_NOT_FOUND" }]);
    expect(service.lines).toContainEqual(expect.objectContaining({ route: "/batches/:batch", session: 7, status: 404 }));
  });

  describe("asked for again under its key", () => {
    const application = { file: "hdfs:///app.py", className: null, args: [], retry: { maxAttempts: 1, backoffMs: 0, on: [] } };
    const ask = ({ sessions }: Service, signal = AbortSignal.timeout(5_000)) =>
      sessions.createBatch({ owner: null, spec: { ...NO_SPEC, application }, notes: [] }, "k", { name: null, remote: null }, signal);

    test("while it is being deleted is another one", async () => {
      await using service = await Service.start();
      const { launcher, sessions } = service;
      const removing = Promise.withResolvers<void>();
      launcher.remove = () => removing.promise;
      const deleted = sessions.delete(await ask(service), "it was deleted");
      const again = Promise.all([ask(service), ask(service)]);
      removing.resolve();
      await deleted;
      expect((await again).map(({ id, state }) => [id, state])).toEqual([
        [1, "running"],
        [1, "running"],
      ]);
      launcher.remove = () => Promise.reject(new Error("it cannot be removed now"));
      const kept = sessions.delete(await ask(service), "it was deleted").catch((error: Error) => error.message);
      expect([(await ask(service)).id, await kept]).toEqual([1, "it cannot be removed now"]);
    });

    test("is made, though the first to ask has left", async () => {
      await using service = await Service.start();
      const { launcher } = service;
      const claim = launcher.claim.bind(launcher);
      const stored = Promise.withResolvers<void>();
      launcher.claim = async (draft, signal) => {
        await stored.promise;
        signal?.throwIfAborted();
        return claim(draft);
      };
      const left = new AbortController();
      const first = ask(service, left.signal);
      const second = ask(service);
      left.abort(new Error("left"));
      stored.resolve();
      expect([(await second).id, (await first).id]).toEqual([0, 0]);
    });
  });

  test("can be planned; nothing is made", async () => {
    await using service = await Service.start();
    const planned = await service.ask("POST", "/batches?dryRun=true", { body: FILE });
    expect([planned.status, planned.body]).toMatchObject([200, { kind: "shared", workload: {} }]);
    expect(service.launcher.planned).toMatchObject([{ spec: { application: { file: "hdfs:///app.py" } } }]);
    expect((await service.ask("GET", "/batches")).body).toMatchObject({ total: 0 });
  });

  test("tell what their drivers write with each line's number, from any of them on, until the end", async () => {
    await using service = await Service.start();
    await service.ask("POST", "/batches", { body: FILE });
    const driver = service.launcher.driver(0);
    driver.emit("log", { line: 0, lines: ["a", "b", "c"] });
    const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
    const told = async (query: string) => (await fetch(`${url}/batches/0/driver-lines${query}`)).text();
    const batch = () => service.sessions.listBatches({ name: null, remote: null })[0];
    await service.until(() => (batch()?.logTotal ?? 0) >= 3);
    const following = told("?attempt=1&line=1");
    service.launcher.end(0, { state: "dead", reason: "broken" });
    await service.until(() => batch()?.end != null);
    const end = `${JSON.stringify({ attempt: 1, end: { state: "dead", reason: "broken", cause: null, exitCode: null }, last: true })}\n`;
    expect(await following).toBe(`{"attempt":1,"line":1,"lines":["b","c"]}\n${end}`);
    expect(await told("")).toBe(`{"attempt":1,"line":0,"lines":["a","b","c"]}\n${end}`);
    expect(await told("?line=3")).toBe(end);
    expect((await service.ask("GET", "/batches/0/driver-lines?line=-1")).status).toBe(400);
    expect((await service.ask("GET", "/batches/1/driver-lines")).status).toBe(404);
  });

  test("links to the history server once one has ended", async () => {
    await using service = await Service.start({ livy: { historyUrl: (life) => (life.end === null ? null : "https://history/app") } });
    await service.ask("POST", "/batches", { body: FILE });
    expect((await service.ask("GET", "/batches/0")).body).toMatchObject({ longwick: { historyUrl: null } });
    service.launcher.end(0, { state: "success", reason: "done" });
    await service.until(() => service.sessions.listBatches({ name: null, remote: null })[0]?.end != null);
    expect((await service.ask("GET", "/batches/0")).body).toMatchObject({
      state: "success",
      longwick: { historyUrl: "https://history/app" },
    });
  });
});
