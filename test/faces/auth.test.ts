import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type AuditEvent, onAudit } from "../../src/core/events.ts";
import { Service } from "./service.ts";

const dir = mkdtempSync(join(tmpdir(), "longwick-auth-"));
afterAll(() => rmSync(dir, { recursive: true }));
const sha = (password: string) => `{SHA}${createHash("sha1").update(password).digest("base64")}`;
const file = (name: string, text: string) => {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};
const basic = (user: string, password: string) => ({ authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` });
const htpasswdFile = file(
  "users",
  ["ann", "bob", "carol", "root", "eve", "näme"].map((user) => `${user}:${sha(user.toUpperCase())}`).join("\n"),
);
const ann = { headers: basic("ann", "ANN") };
const bob = { headers: basic("bob", "BOB") };
const carol = { headers: basic("carol", "CAROL") };
const root = { headers: basic("root", "ROOT") };

describe("with a password file", () => {
  test("nobody gets anything but health without a password, and is told how to say it", async () => {
    await using service = await Service.start({ htpasswdFile });
    for (const [method, path] of [
      ["GET", "/sessions"],
      ["POST", "/sessions"],
      ["GET", "/nosuch"],
      ["GET", "/openapi.json"],
      ["PUT", "/sessions"],
    ] as const) {
      const answer = await service.ask(method, path);
      expect([answer.status, answer.headers["www-authenticate"]]).toEqual([401, 'Basic realm="longwick", charset="UTF-8"']);
      expect(answer.body).toHaveProperty("msg");
    }
    expect((await service.ask("GET", "/healthz")).status).toBe(200);
    expect((await service.ask("GET", "/readyz")).status).toBe(200);
  });

  test.each([
    ["a wrong password", basic("ann", "BOB")],
    ["an unknown user", basic("mallory", "ANN")],
    ["no user", basic("", "")],
    ["no colon", { authorization: "Basic YW5u" }],
    ["another scheme", { authorization: "Digest x" }],
    ["a token where there are none", { authorization: "Bearer ANN" }],
    ["nonsense", { authorization: "\u{7f}" }],
  ])("%s does not do", async (_, headers) => {
    await using service = await Service.start({ htpasswdFile });
    expect((await service.ask("GET", "/sessions", { headers })).status).toBe(401);
  });

  test("a user and a password beyond ASCII do", async () => {
    await using service = await Service.start({ htpasswdFile });
    expect((await service.ask("GET", "/sessions", { headers: basic("näme", "NÄME") })).status).toBe(200);
  });

  test("a session is its owner's: others neither see nor touch it", async () => {
    await using service = await Service.start({ htpasswdFile, access: { superusers: ["root"], viewUsers: ["carol"] } });
    const body = { kind: "pyspark", name: "alpha" };
    const { id } = await service.ask("POST", "/sessions", { ...ann, body }).then(({ body }) => body as { id: number });
    const get = async (who: object) => (await service.ask("GET", `/sessions/${id}`, who)).status;
    const remove = async (who: object) => (await service.ask("DELETE", `/sessions/${id}`, who)).status;
    const count = async (who: object) => ((await service.ask("GET", "/sessions", who)).body as { total: number }).total;
    expect((await service.ask("GET", `/sessions/${id}`, ann)).body).toMatchObject({ owner: "ann", proxyUser: null });
    expect([await get(ann), await get(bob), await get(carol), await get(root)]).toEqual([200, 403, 200, 200]);
    expect([await count(ann), await count(bob), await count(carol), await count(root)]).toEqual([1, 0, 1, 1]);
    expect((await service.ask("POST", `/sessions/${id}/statements`, { ...carol, body: { code: "1" } })).status).toBe(403);
    expect((await service.ask("GET", "/sessions/alpha", bob)).status).toBe(403);
    expect([await remove(bob), await remove(carol), await remove(root)]).toEqual([403, 403, 200]);
  });

  test("only some may name a proxyUser, in the body or as doAs", async () => {
    const spec = { kinds: ["pyspark" as const], refusedConf: [], idleTimeoutMs: 0, ttlMs: 0, impersonation: true };
    await using service = await Service.start({ htpasswdFile, access: { impersonators: ["carol"] }, livy: { spec } });
    const create = async (who: object, path: string, body: object) => service.ask("POST", path, { ...who, body });
    expect((await create(ann, "/sessions", { proxyUser: "bob" })).status).toBe(403);
    expect((await create(ann, "/sessions?doAs=bob", {})).status).toBe(403);
    expect((await create(ann, "/sessions", { proxyUser: "ann" })).body).toMatchObject({ owner: "ann", proxyUser: "ann" });
    expect((await create(carol, "/sessions?doAs=bob", { proxyUser: "ann" })).body).toMatchObject({ owner: "carol", proxyUser: "bob" });
  });

  test("only the allowed users get in, when there is a list", async () => {
    await using service = await Service.start({ htpasswdFile, access: { allowedUsers: ["ann"], superusers: ["root"] } });
    const statuses = await Promise.all([ann, bob, root].map(async (who) => (await service.ask("GET", "/sessions", who)).status));
    expect(statuses).toEqual([200, 403, 200]);
  });

  test("guessing is stopped, counted before each check; whoever is known goes on", async () => {
    await using service = await Service.start({ htpasswdFile });
    expect((await service.ask("GET", "/sessions", { ...ann, remote: "10.0.0.9" })).status).toBe(200);
    const guesses = await Promise.all(
      Array.from(
        { length: 20 },
        async (_, guess) => (await service.ask("GET", "/sessions", { headers: basic("bob", `${guess}`), remote: "10.0.0.9" })).status,
      ),
    );
    expect(guesses.sort()).toEqual([...Array(10).fill(401), ...Array(10).fill(429)]);
    expect((await service.ask("GET", "/sessions", { ...bob, remote: "10.0.0.9" })).status).toBe(429);
    expect((await service.ask("GET", "/sessions", { ...ann, remote: "10.0.0.9" })).status).toBe(200);
    expect((await service.ask("GET", "/sessions", { ...bob, remote: "10.0.0.8" })).status).toBe(200);
  });

  test("many good logins at once buy nobody more guesses", async () => {
    await using service = await Service.start({ htpasswdFile });
    const remote = "10.0.0.7";
    await Promise.all(Array.from({ length: 50 }, () => service.ask("GET", "/sessions", { ...ann, remote })));
    const guess = async (_: unknown, count: number) =>
      (await service.ask("GET", "/sessions", { headers: basic("bob", `${count}`), remote })).status;
    const guesses = await Promise.all(Array.from({ length: 30 }, guess));
    expect(guesses.filter((status) => status === 401)).toHaveLength(10);
  });

  test("a client that repeats one wrong password does not shut out its neighbours", async () => {
    await using service = await Service.start({ htpasswdFile });
    for (let poll = 0; poll < 30; poll += 1)
      expect((await service.ask("GET", "/sessions", { headers: basic("ann", "old") })).status).toBe(401);
    expect((await service.ask("GET", "/sessions", bob)).status).toBe(200);
  });

  test("a refused login is audited without the credentials", async () => {
    await using service = await Service.start({ htpasswdFile });
    const events: AuditEvent[] = [];
    const off = onAudit((event) => events.push(event));
    await service.ask("GET", "/sessions/7", { headers: basic("ann", "hunter2"), remote: "10.0.0.9" });
    off();
    expect(events).toEqual([
      { action: "refuse", user: null, remote: "10.0.0.9", proxyUser: null, session: 7, statement: null, problem: "UNAUTHENTICATED" },
    ]);
    expect(JSON.stringify(service.lines)).not.toContain("hunter2");
  });

  test("a changed file counts within a second or so: who was taken out is out", async () => {
    const path = file("changing", `ann:${sha("ANN")}\nbob:${sha("BOB")}\n`);
    await using service = await Service.start({ htpasswdFile: path });
    expect((await service.ask("GET", "/sessions", ann)).status).toBe(200);
    await writeFile(`${path}.new`, `ann:${sha("new")}\n`);
    await rename(`${path}.new`, path);
    const status = async (headers: Record<string, string>) => (await service.ask("GET", "/sessions", { headers })).status;
    // Not a second each where nothing else runs.
    await expect.poll(() => status(ann.headers)).not.toBe(200);
    expect([await status(basic("ann", "new")), await status(bob.headers)]).toEqual([200, 401]);
    rmSync(path);
    await expect.poll(() => status(basic("ann", "new"))).not.toBe(200);
    expect(service.lines.some(({ msg }) => String(msg).includes("cannot be read"))).toBe(true);
  });

  test("users who may not be there together shut the door until the file is mended", async () => {
    const both = `ann:${sha("ANN")}\nbob:${sha("BOB")}`;
    const path = file("together", `ann:${sha("ANN")}`);
    const checkUsers = (users: readonly string[]) => {
      if (users.length > 1) throw new Error(`${users.join(" and ")} cannot share`);
    };
    await using service = await Service.start({ htpasswdFile: path, checkUsers });
    const answers = async (status: number) => {
      await expect.poll(async () => (await service.ask("GET", "/sessions", ann)).status, { timeout: 5_000 }).toBe(status);
    };
    await answers(200);
    await writeFile(path, both);
    await answers(403);
    expect((await service.ask("GET", "/sessions", ann)).body).toEqual({ msg: "ann and bob cannot share" });
    await writeFile(path, `ann:${sha("ANN")}`);
    await answers(200);
    await expect(Service.start({ htpasswdFile: file("from-the-start", both), checkUsers })).rejects.toThrow("cannot share");
  });

  test("a server does not start with a password file that is not there", async () => {
    await expect(Service.start({ htpasswdFile: join(dir, "no-such-file") })).rejects.toThrow("ENOENT");
  });
});

test("tokens say who is calling, as Bearer and in Jupyter's way, alone or beside passwords", async () => {
  const hash = createHash("sha256").update("t0ken").digest("hex");
  const tokensFile = file("tokens", `# ci\n${hash.toUpperCase()} ci-bot\nnonsense\n`);
  await using service = await Service.start({ tokensFile });
  expect((await service.ask("GET", "/sessions")).headers["www-authenticate"]).toBe('Bearer realm="longwick"');
  const create = (authorization: string) => service.ask("POST", "/sessions", { headers: { authorization }, body: {} });
  expect((await create("Bearer t0ken")).body).toMatchObject({ owner: "ci-bot" });
  expect((await create("token t0ken")).body).toMatchObject({ owner: "ci-bot" });
  expect((await create("Bearer t0ke")).status).toBe(401);
  expect((await create(`Bearer ${hash}`)).status).toBe(401);
  expect(service.lines.some(({ msg }) => String(msg).includes("line 3 is left out"))).toBe(true);
  await using both = await Service.start({ tokensFile, htpasswdFile });
  expect((await both.ask("GET", "/sessions", { headers: { authorization: "Bearer t0ken" } })).status).toBe(200);
  expect((await both.ask("GET", "/sessions", ann)).status).toBe(200);
});

describe("without authentication", () => {
  test.each(["localhost", "LOCALHOST:8998", "127.0.0.1:1", "127.9.9.9", "[::1]:8998", "localhost.", "spark.lan:80"])(
    "the server answers by its own name %s",
    async (host) => {
      await using service = await Service.start({ http: { hostNames: ["Spark.lan"] } });
      expect((await service.ask("GET", "/sessions", { headers: { host } })).status).toBe(200);
    },
  );

  test.each(["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1:8998", "[::2]", "spark.lan.evil:80"])(
    "a name that only resolves to this machine gets nothing: %s",
    async (host) => {
      await using service = await Service.start({ http: { hostNames: ["spark.lan"] } });
      const answer = await service.ask("POST", "/sessions", { headers: { host }, body: {} });
      expect(answer.status).toBe(403);
      expect(service.launcher.drivers).toEqual([]);
      expect((await service.ask("GET", "/healthz", { headers: { host } })).status).toBe(200);
    },
  );
});

describe("a web page", () => {
  test.each(["http://evil.example", "http://localhost:3000", "null", "http://127.0.0.1:8998", "file://"])(
    "of origin %s cannot call",
    async (origin) => {
      await using service = await Service.start({ htpasswdFile });
      expect((await service.ask("POST", "/sessions", { headers: { ...ann.headers, origin }, body: {} })).status).toBe(403);
      expect(service.launcher.drivers).toEqual([]);
    },
  );

  test.each(["http://localhost:8998", "https://LOCALHOST:8998", "https://lab.example"])("of origin %s can", async (origin) => {
    await using service = await Service.start({ htpasswdFile, http: { origins: ["https://lab.example"] } });
    expect((await service.ask("GET", "/sessions", { headers: { ...ann.headers, origin } })).status).toBe(200);
  });
});

test("with the CSRF check on, what changes something needs X-Requested-By, be it empty", async () => {
  await using service = await Service.start({ http: { csrfHeader: true } });
  const post = (headers: Record<string, string>) => service.ask("POST", "/sessions", { headers, body: { kind: "cobol" } });
  expect(await post({})).toMatchObject({ status: 400, body: { msg: "Missing Required Header for CSRF protection: X-Requested-By." } });
  expect((await service.ask("DELETE", "/sessions/1")).status).toBe(400);
  expect(await post({ "x-requested-by": "" })).toMatchObject({ body: { msg: expect.stringMatching(/^Invalid kind: cobol\. /) } });
  expect((await service.ask("GET", "/sessions")).status).toBe(200);
});
