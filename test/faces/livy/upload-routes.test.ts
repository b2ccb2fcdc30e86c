import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "vitest";
import { Access } from "../../../src/core/access.ts";
import { Uploads } from "../../../src/core/uploads.ts";
import { openDirectoryStore } from "../../../src/uploads/directory.ts";
import { Service, type ServiceOptions } from "../service.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "lw-routes-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));
const start = (options: ServiceOptions = {}) => Service.start({ uploads: { directory: join(directory, "store") }, ...options });

const form = (filename: string, content: string | Buffer = "abc") => ({
  headers: { "content-type": "multipart/form-data; boundary=b" },
  payload: Buffer.concat([
    Buffer.from(`--b\r\nContent-Disposition: form-data; name="file"; filename="${filename}"\r\n\r\n`),
    Buffer.from(content),
    Buffer.from("\r\n--b--\r\n"),
  ]),
});
const SHA = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const idOf = ({ body }: { readonly body: unknown }): string => (body as { id: string }).id;

/** Users by token. */
const USERS = { ann: "tok-ann", bob: "tok-bob", root: "tok-root" } as const;
const withUsers = async (options: ServiceOptions = {}) => {
  const { createHash } = await import("node:crypto");
  const tokensFile = join(directory, "tokens");
  writeFileSync(
    tokensFile,
    Object.entries(USERS)
      .map(([user, token]) => `${createHash("sha256").update(token).digest("hex")} ${user}\n`)
      .join(""),
  );
  const service = await start({ tokensFile, access: { superusers: ["root"], impersonators: ["ann"] }, ...options });
  const as = (user: keyof typeof USERS, headers: object = {}) => ({ headers: { ...headers, authorization: `Bearer ${USERS[user]}` } });
  const send = (user: keyof typeof USERS, name = "a.jar", query = "") => {
    const { headers, payload } = form(name);
    return service.ask("POST", `/uploads${query}`, { ...as(user, headers), payload });
  };
  return { service, as, send };
};

describe("/uploads", () => {
  test("takes a file, shows it, lists it and removes it", async ({ expect }) => {
    await using service = await start();
    const sent = await service.ask("POST", "/uploads", form("größe 1.whl"));
    const id = idOf(sent);
    const upload = {
      ...{ id, uri: `upload:/${id}/gr%C3%B6%C3%9Fe%201.whl`, name: "größe 1.whl", size: 3, sha256: SHA, owner: null, proxyUser: null },
      ...{ createdMs: expect.any(Number), usedMs: expect.any(Number) },
    };
    expect(sent).toMatchObject({ status: 201, headers: { location: `/uploads/${id}` }, body: upload });
    expect(await service.ask("GET", `/uploads/${id}`)).toMatchObject({ status: 200, body: upload });
    expect(await service.ask("GET", "/uploads")).toMatchObject({ status: 200, body: { total: 1, uploads: [upload] } });
    expect(await service.ask("DELETE", `/uploads/${id}`)).toMatchObject({ status: 200, body: { msg: "deleted" } });
    for (const method of ["GET", "DELETE"])
      expect(await service.ask(method, `/uploads/${id}`)).toMatchObject({
        status: 404,
        body: { msg: expect.stringContaining("not found") },
      });
  });

  test("takes of a path its last part alone", async ({ expect }) => {
    await using service = await start();
    for (const path of ["../../x.jar", "/etc/x.jar", "C:\\\\temp\\\\x.jar"])
      expect(await service.ask("POST", "/uploads", form(path))).toMatchObject({ status: 201, body: { name: "x.jar" } });
  });

  test.for(["", "..", "a,b.jar", "*", "é".repeat(200), `${"a".repeat(5_000)}`])("refuses a file called %j", async (name, { expect }) => {
    await using service = await start();
    expect(await service.ask("POST", "/uploads", form(name))).toMatchObject({ status: 400, body: { msg: expect.any(String) } });
    expect(await service.ask("GET", "/uploads")).toMatchObject({ body: { total: 0 } });
  });

  test.for([
    ["no form", {}],
    ["JSON", { body: { uri: "x" } }],
    ["a form without a file", { ...form("x"), payload: '--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n' }],
    ["a form that breaks off", { ...form("x"), payload: form("x", "half").payload.subarray(0, -12) }],
  ] as const)("%s is refused, and nothing is kept", async ([, asking], { expect }) => {
    await using service = await start();
    expect(await service.ask("POST", "/uploads", asking)).toMatchObject({ status: 400, body: { msg: expect.any(String) } });
    expect(await service.ask("GET", "/uploads")).toMatchObject({ body: { total: 0 } });
  });

  test("a file over the limit is a 413 with the limit, one over the quota too; both are told apart", async ({ expect }) => {
    await using service = await start({
      livy: { uploadLimitBytes: 1_000 },
      uploads: { directory: join(directory, "store"), limitBytes: 1_000, quotaBytes: 1_500 },
    });
    const send = (bytes: number) => service.ask("POST", "/uploads", form("a.jar", Buffer.alloc(bytes)));
    expect(await send(1_000)).toMatchObject({ status: 201 });
    expect(await send(1_001)).toMatchObject({ status: 413, body: { msg: "The file is larger than 1000 bytes, the limit here." } });
    expect(await send(100_000)).toMatchObject({ status: 413, body: { msg: "The file is larger than 1000 bytes, the limit here." } });
    expect(await send(501)).toMatchObject({
      status: 413,
      body: { msg: expect.stringContaining("limit per user; those there are take 1000") },
    });
    expect(readdirSync(join(directory, "store", "coming"))).toEqual([]);
  });

  test("a refusal reaches a client that is still sending", async ({ expect }) => {
    await using service = await start({
      livy: { uploadLimitBytes: 1_000 },
      uploads: { directory: join(directory, "store"), limitBytes: 1_000 },
    });
    const url = new URL(await service.http.listen({ host: "127.0.0.1", port: 0 }));
    const socket = connect(Number(url.port), url.hostname);
    const { payload } = form("a.jar", Buffer.alloc(60_000));
    socket.write(
      `POST /uploads HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000000\r\ncontent-type: multipart/form-data; boundary=b\r\n\r\n`,
    );
    socket.write(payload);
    let answer = "";
    socket.setEncoding("utf8").on("data", (more: string) => {
      answer += more;
    });
    await expect.poll(() => answer).toMatch(/^HTTP\/1\.1 413 .*limit here/s);
    socket.destroy();
  });

  test("takes nothing from pages of other origins, and with the CSRF check on nothing without its header", async ({ expect }) => {
    await using service = await start({ http: { csrfHeader: true } });
    const { headers, payload } = form("a.jar");
    const send = (more: object) => service.ask("POST", "/uploads", { headers: { ...headers, ...more }, payload });
    expect(await send({ origin: "https://evil.example", "x-requested-by": "me" })).toMatchObject({ status: 403 });
    expect(await send({})).toMatchObject({ status: 400, body: { msg: expect.stringContaining("X-Requested-By") } });
    expect(await send({ "x-requested-by": "me" })).toMatchObject({ status: 201 });
    expect(await service.ask("GET", "/uploads")).toMatchObject({ body: { total: 1 } });
  });

  test("without a store they are not offered, and the answer says what is missing", async ({ expect }) => {
    await using service = await Service.start();
    for (const [method, url] of [
      ["GET", "/uploads"],
      ["GET", "/uploads/x"],
      ["DELETE", "/uploads/x"],
    ] as const)
      expect(await service.ask(method, url)).toMatchObject({ status: 501, body: { msg: expect.stringContaining("uploadDir") } });
    expect(await service.ask("POST", "/uploads", form("x"))).toMatchObject({ status: 501 });
    expect(await service.ask("POST", "/sessions", { body: { jars: ["upload:/x/y"] } })).toMatchObject({
      status: 400,
      body: { msg: "Rejected, Reason: URI 'upload:/x/y': uploads are not switched on here." },
    });
  });
});

describe("who may", () => {
  test("one's own uploads are one's own, but for superusers and whom they were sent for", async ({ expect }) => {
    const { service, as, send } = await withUsers();
    await using _service = service;
    const [own, shared] = [idOf(await send("ann")), idOf(await send("ann", "b.jar", "?doAs=bob"))];
    const listed = async (user: keyof typeof USERS) =>
      ((await service.ask("GET", "/uploads", as(user))).body as { uploads: { id: string }[] }).uploads.map(({ id }) => id);
    expect([await listed("ann"), await listed("bob"), await listed("root")]).toEqual([[own, shared], [shared], [own, shared]]);
    for (const method of ["GET", "DELETE"])
      expect(await service.ask(method, `/uploads/${own}`, as("bob"))).toMatchObject({
        status: 403,
        body: { msg: expect.stringContaining("'bob' may not") },
      });
    expect(await service.ask("POST", "/sessions", { ...as("bob"), body: { jars: [`upload:/${own}/a.jar`] } })).toMatchObject({
      status: 403,
    });
    expect(await service.ask("POST", "/sessions", { ...as("bob"), body: { jars: [`upload:/${shared}/b.jar`] } })).toMatchObject({
      status: 201,
    });
    expect(await service.ask("GET", "/uploads")).toMatchObject({ status: 401 });
    expect(await send("bob", "c.jar", "?doAs=ann")).toMatchObject({
      status: 403,
      body: { msg: expect.stringContaining("impersonate 'ann'") },
    });
  });

  test("who sent and who removed is audited, and who was refused", async ({ expect }) => {
    const { service, as, send } = await withUsers();
    await using _service = service;
    const { logEvents } = await import("../../../src/observe/events.ts");
    const { default: pino } = await import("pino");
    const stop = logEvents(pino({}, { write: (line: string) => void service.lines.push(JSON.parse(line)) }));
    const id = idOf(await send("ann", "b.jar", "?doAs=bob"));
    await service.ask("DELETE", `/uploads/${id}`, as("bob"));
    await service.ask("DELETE", `/uploads/${idOf(await send("ann"))}`, as("bob"));
    stop();
    const audited = service.lines.flatMap(({ audit }) => (audit === undefined ? [] : [audit]));
    expect(audited).toMatchObject([
      { action: "upload", user: "ann", proxyUser: "bob", upload: id, session: null },
      { action: "delete-upload", user: "bob", upload: id },
      { action: "upload", user: "ann", proxyUser: null },
      { action: "refuse", user: "bob", problem: "FORBIDDEN" },
    ]);
  });
});

describe("a session's uploads", () => {
  test("stand in its lists in one spelling, and are its as long as it lives", async ({ expect }) => {
    await using service = await start();
    const id = idOf(await service.ask("POST", "/uploads", form("a b.zip")));
    const asked = {
      kind: "pyspark",
      archives: [`upload:///${id.toUpperCase()}/a%20b%2ezip#env`],
      conf: { "spark.files": ` upload:/${id}/a%20b.zip` },
    };
    const created = await service.ask("POST", "/sessions", { body: asked });
    expect(created).toMatchObject({
      status: 201,
      body: { archives: [`upload:/${id}/a%20b.zip#env`], conf: { "spark.files": `upload:/${id}/a%20b.zip` } },
    });
    expect(await service.ask("DELETE", `/uploads/${id}`)).toMatchObject({ status: 409, body: { msg: expect.stringContaining("in use") } });
    await service.ask("DELETE", "/sessions/0");
    expect(await service.ask("DELETE", `/uploads/${id}`)).toMatchObject({ status: 200 });
  });

  test("must be there, and be called so", async ({ expect }) => {
    await using service = await start();
    const id = idOf(await service.ask("POST", "/uploads", form("a.jar")));
    const reasons = {
      [`upload:/${id}/b.jar`]: `Upload '${id}' is called 'a.jar', not 'b.jar'.`,
      [`upload:/${id}`]: "is no upload's: take the `uri` that POST /uploads answered.",
      [`upload:/${id}/a.jar?x`]: "is no upload's",
      [`upload:/${id}/%ZZ`]: "is no upload's",
      [`upload:/${id}/../../x`]: "is no upload's",
      [`upload:/${id.replace(/.$/, "0")}0/a.jar`]: "is no upload's",
      "upload:/0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b34/a.jar": "not found",
      "/home/ann/a.jar":
        "cannot be added to user sessions. It must be in a directory that `localPaths` allows, or be sent (POST /uploads) and named by its `uri`.",
    };
    for (const [uri, reason] of Object.entries(reasons))
      expect(await service.ask("POST", "/sessions", { body: { jars: [uri] } })).toMatchObject({
        status: 400,
        body: { msg: expect.stringContaining(reason) },
      });
  });

  test("are looked at a few at a time, however many are named", async ({ expect }) => {
    const store = openDirectoryStore(join(directory, "store"));
    const put = store.put.bind(store);
    let open = 0;
    let most = 0;
    store.put = async (...asked) => {
      open += 1;
      most = Math.max(most, open);
      await put(...asked).finally(() => {
        open -= 1;
      });
    };
    const access = new Access({ superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] });
    const rules = { limitBytes: 1_000, quotaBytes: 0, quotaFiles: 0, retentionMs: 0 };
    const uploads = new Uploads({ store, access, rules, clock: { now: Date.now }, named: () => new Set<string>() });
    await using service = await start({ livy: { paths: { driversAreHere: true, localDirs: [], uploads } } });
    const { uri } = (await service.ask("POST", "/uploads", form("a.jar"))).body as { uri: string };
    const jars = Array.from({ length: 200 }, () => uri);
    expect((await service.ask("POST", "/sessions", { body: { jars } })).body).toMatchObject({ jars });
    expect(most).toBe(16);
  });
});
