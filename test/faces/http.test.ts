import { once } from "node:events";
import { connect } from "node:net";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { exchange } from "../kit/http.ts";
import { Service } from "./service.ts";

const COBOL = '{"kind":"cobol"}';
const READ = { status: 400, body: { msg: expect.stringMatching(/^Invalid kind: cobol\. /) } };

describe("a body is JSON", () => {
  test.each([
    ["application/json"],
    ["application/json;charset=UTF-8"],
    ["application/json; charset=iso-8859-1"],
    ["text/plain"],
    ["application/x-www-form-urlencoded"],
    ["multipart/form-data; boundary=x"],
    ["nonsense"],
    [";;"],
    [""],
  ])("whatever its type: %j", async (type) => {
    await using service = await Service.start();
    expect(await service.ask("POST", "/sessions", { payload: COBOL, headers: { "content-type": type } })).toMatchObject(READ);
  });

  test("without a type, in UTF-16 with its mark, in UTF-8 with one, or `Content-Encoding: UTF-8`", async () => {
    await using service = await Service.start();
    const payloads = [
      Buffer.from(COBOL),
      Buffer.from(`\u{FEFF}${COBOL}`, "utf16le"),
      Buffer.from(`\u{FEFF}${COBOL}`, "utf16le").swap16(),
      `\u{FEFF}${COBOL}`,
    ];
    for (const payload of payloads) expect(await service.ask("POST", "/sessions", { payload })).toMatchObject(READ);
    expect(await service.ask("POST", "/sessions", { payload: COBOL, headers: { "content-encoding": "UTF-8" } })).toMatchObject(READ);
  });

  test.each([
    ["{kind", /^The body is not JSON: /],
    ['{"kind":"cobol"} x', /^The body is not JSON: /],
    ["", /^The body must be a JSON object\.$/],
    ["  ", /^The body must be a JSON object\.$/],
    ["null", /^The body must be a JSON object\.$/],
    ["[]", /^The body must be a JSON object\.$/],
    ['"pyspark"', /^The body must be a JSON object\.$/],
    ["[".repeat(100_000), /^The body is not JSON: /],
    [Buffer.from([0x7b, 0xff, 0xfe]), /^The body is not UTF-8\.$/],
    ['{"kind":5}', /^kind must be text\.$/],
    ['{"driverCores":"two"}', /^driverCores must be a whole number\.$/],
    ['{"driverCores":-1}', /^driverCores must be >= 0\.$/],
    ['{"conf":[]}', /^conf must be a JSON object\.$/],
    ['{"conf":{"a.b/c":{}}}', /^conf\.a\.b\/c must be text or a number or true or false\.$/],
    ['{"jars":"a.jar"}', /^jars must be a list\.$/],
    ['{"heartbeatTimeoutInSecond":1e99}', /^heartbeatTimeoutInSecond must be <= 2147483647\.$/],
  ])("%j is refused with a reason", async (payload, reason) => {
    await using service = await Service.start();
    const answer = await service.ask("POST", "/sessions", { payload });
    expect(answer.status).toBe(400);
    expect((answer.body as { msg: string }).msg).toMatch(reason);
    expect(service.launcher.drivers).toEqual([]);
  });

  test("that is compressed is refused, not misread", async () => {
    await using service = await Service.start();
    const answer = await service.ask("POST", "/sessions", { payload: COBOL, headers: { "content-encoding": "gzip" } });
    expect(answer.body).toEqual({ msg: "A compressed body cannot be read here: send it plain." });
  });
});

describe("addresses", () => {
  test.each([
    ["/sessions", "PUT", "GET, HEAD, POST"],
    ["/sessions/", "DELETE", "GET, HEAD, POST"],
    ["/sessions", "OPTIONS", "GET, HEAD, POST"],
    ["/sessions", "PROPFIND", "GET, HEAD, POST"],
    ["//sessions//3?x=y", "PATCH", "DELETE, GET, HEAD"],
    ["/sessions/3/connect", "GET", "POST"],
    ["/version", "POST", "GET, HEAD"],
  ])("%s does not know %s and says what it knows", async (path, method, allow) => {
    await using service = await Service.start();
    const answer = await service.ask(method, path, { payload: "not json" });
    expect([answer.status, answer.headers["allow"]]).toEqual([405, allow]);
    expect(answer.body).toHaveProperty("msg");
  });

  test.each(["/nosuch", "/sessions/3/nosuch", "/sessions/3/statements/4/nosuch"])("nothing is at %s", async (path) => {
    await using service = await Service.start();
    expect(await service.ask("GET", path)).toMatchObject({ status: 404, body: { msg: `Nothing is at this address: GET ${path}` } });
  });

  test.each(["/sessions/%ff", "/sessions/%", "/sessions/%zz/statements/%"])("%s is no address", async (path) => {
    await using service = await Service.start();
    expect(await service.ask("GET", path)).toMatchObject({ status: 400, body: { msg: "The address is not well-formed." } });
  });

  test("HEAD answers like GET without a body", async () => {
    await using service = await Service.start();
    const answer = await service.ask("HEAD", "/sessions");
    expect([answer.status, answer.text, answer.headers["content-length"]]).toEqual([200, "", "34"]);
  });

  test("a version of the interface nobody knows is refused", async () => {
    await using service = await Service.start();
    const ask = (accept: string) => service.ask("GET", "/sessions", { headers: { accept } });
    expect(await ask("application/vnd.livy.v9+json")).toMatchObject({ status: 406, body: { msg: "No value found for '9'" } });
    for (const accept of ["application/vnd.livy.v0.1+json", "text/html", "*/*", ""]) expect((await ask(accept)).status).toBe(200);
  });

  test("the version is one that clients of Livy can compare", async () => {
    await using service = await Service.start();
    const { body } = await service.ask("GET", "/version/");
    expect(body).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+(-\w+)?$/),
      longwick: "1.2.3",
      url: "",
      branch: "",
      revision: "",
      user: "",
    });
  });

  test("a base path stands in every address and every link", async () => {
    await using service = await Service.start({ http: { basePath: "/spark/one" } });
    expect((await service.ask("POST", "/spark/one/sessions/", { body: {} })).headers["location"]).toBe("/spark/one/sessions/0");
    expect((await service.ask("GET", "/spark/one")).headers["location"]).toBe("http://localhost:8998/spark/one/docs/");
    expect((await service.ask("GET", "/sessions")).status).toBe(404);
    expect((await service.ask("GET", "/healthz")).status).toBe(200);
    expect((await service.ask("PUT", "/spark/one/sessions")).headers["allow"]).toBe("GET, HEAD, POST");
    const { body } = await service.ask("GET", "/spark/one/openapi.json");
    expect(body).toMatchObject({ servers: [{ url: "/spark/one" }], paths: { "/sessions": {}, "/sessions/{session}": {} } });
  });
});

describe("behind a proxy", () => {
  const forwarded = {
    "x-forwarded-for": "192.0.2.7, 10.1.1.1",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "lab.example",
    "x-forwarded-prefix": "/livy/",
  };
  const http = { trustedProxies: ["10.0.0.0/8", "::1"], hostNames: ["lab.example"] };

  test("that is trusted, links and the caller's address are the outer ones", async () => {
    await using service = await Service.start({ http });
    const { headers } = await service.ask("GET", "/", { headers: forwarded, remote: "::ffff:10.2.2.2" });
    expect(headers["location"]).toBe("https://lab.example/livy/docs/");
    const created = await service.ask("POST", "/sessions", { headers: forwarded, remote: "::1", body: {} });
    expect(created.headers["location"]).toBe("/livy/sessions/0");
    expect(service.lines.at(-1)).toMatchObject({ remote: "192.0.2.7" });
    expect((await service.ask("GET", "/openapi.json", { headers: forwarded, remote: "::1" })).body).toMatchObject({
      servers: [{ url: "/livy" }],
    });
  });

  test("that is not trusted, nothing it says is believed", async () => {
    await using service = await Service.start({ http });
    const created = await service.ask("POST", "/sessions", { headers: forwarded, remote: "192.0.2.1", body: {} });
    expect(created.headers["location"]).toBe("/sessions/0");
    expect(service.lines.at(-1)).toMatchObject({ remote: "192.0.2.1" });
    const lured = await service.ask("GET", "/sessions", { headers: { ...forwarded, host: "evil.example" }, remote: "192.0.2.1" });
    expect(lured.status).toBe(403);
  });

  test("a prefix that is no path is not believed either", async () => {
    await using service = await Service.start({ http });
    for (const prefix of ["//evil.example", "/a b", 'x"><', "/a/../.."]) {
      const { headers } = await service.ask("POST", "/sessions", {
        headers: { ...forwarded, "x-forwarded-prefix": prefix },
        remote: "10.0.0.1",
        body: {},
      });
      expect(headers["location"]).toMatch(/^(\/a\/\.\.\/\.\.)?\/sessions\/\d+$/);
    }
  });
});

describe("answers", () => {
  test("keep browsers from guessing and framing, are never stored, and have an id", async () => {
    await using service = await Service.start();
    const first = await service.ask("GET", "/sessions");
    expect(first.headers).toMatchObject({
      ...{ "content-type": "application/json; charset=utf-8", "x-content-type-options": "nosniff", "x-frame-options": "SAMEORIGIN" },
      ...{ "content-security-policy": "default-src 'none'; frame-ancestors 'self'", "cache-control": "no-store" },
    });
    expect(first.headers["x-request-id"]).not.toBe((await service.ask("GET", "/sessions")).headers["x-request-id"]);
  });

  test("that are large are compressed for who asks from elsewhere, never over loopback", async () => {
    await using service = await Service.start({ http: { gzipFromBytes: 1_000, hostNames: [] } });
    for (let id = 0; id < 20; id += 1) await service.ask("POST", "/sessions", { body: {} });
    await service.until(() => service.sessions.list({ name: null, remote: null }).every(({ state }) => state === "idle"));
    const headers = { "accept-encoding": "deflate, gzip" };
    const far = await service.ask("GET", "/sessions", { headers, remote: "192.0.2.1" });
    expect(far.headers).toMatchObject({ "content-encoding": "gzip", vary: "accept-encoding" });
    const near = await service.ask("GET", "/sessions", { headers });
    expect(near.headers["content-encoding"]).toBeUndefined();
    expect(gunzipSync(far.bytes).toString()).toBe(near.text);
    expect((await service.ask("GET", "/sessions?size=1", { headers, remote: "192.0.2.1" })).headers["content-encoding"]).toBeUndefined();
    expect((await service.ask("GET", "/sessions", { remote: "192.0.2.1" })).headers["content-encoding"]).toBeUndefined();
  });

  test("leave connections open for longer than any client's pause between polls", async () => {
    await using service = await Service.start();
    const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
    const { headers } = await exchange(url, { method: "GET", path: "/version", headers: { Connection: "keep-alive" } });
    expect(Number(/timeout=(\d+)/.exec(String(headers["keep-alive"]))?.[1])).toBeGreaterThanOrEqual(75);
  });

  test("to what is no HTTP come in Livy's shape too", async () => {
    await using service = await Service.start();
    const { port } = new URL(await service.http.listen({ host: "127.0.0.1", port: 0 }));
    const socket = connect(Number(port), "127.0.0.1");
    socket.write("nonsense\r\n\r\n");
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    await once(socket, "close");
    expect(text).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n.*\r\n\r\n\{"msg":"Bad Request: .*"\}$/s);
  });

  test("to a fault of ours say nothing of it, and the log says it all", async () => {
    const broken = () => {
      throw new Error("secret detail");
    };
    await using service = await Service.start({ http: { faces: [(app) => void app.get("/broken", broken)] } });
    const { status, body, headers } = await service.ask("GET", "/broken");
    expect([status, body]).toEqual([500, { msg: `Internal error; the server's log says more about request ${headers["x-request-id"]}.` }]);
    expect(service.lines.find(({ msg }) => msg === "bug")).toMatchObject({
      level: 50,
      requestId: headers["x-request-id"],
      err: { message: "secret detail" },
    });
  });
});

describe("the access log", () => {
  test("names fields, never code, conf or credentials; polls only when debugging", async () => {
    await using service = await Service.start();
    const { id } = await service.ready({ kind: "pyspark", conf: { "spark.x": "VALUE" } });
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "CODE" }, headers: { "idempotency-key": "KEY" } });
    await service.ask("GET", `/sessions/${id}?TOKEN=TOKEN`);
    const text = JSON.stringify(service.lines);
    for (const secret of ["VALUE", "CODE", "KEY", "TOKEN"]) expect(text).not.toContain(secret);
    expect(service.lines.map(({ method, route }) => `${method} ${route}`)).toEqual([
      "POST /sessions",
      "POST /sessions/:session/statements",
    ]);
    expect(service.lines[1]).toMatchObject({ session: id, status: 201, user: null, remote: "127.0.0.1", ms: expect.any(Number) });
    await service.ask("GET", "/sessions/77");
    expect(service.lines.at(-1)).toMatchObject({ method: "GET", session: 77, status: 404 });
  });
});

describe("a server that goes away", () => {
  test("refuses with 503 before anything is begun, gives held answers at once, and is still alive", async () => {
    await using service = await Service.start();
    const { id } = await service.ready();
    await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "1" } });
    const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
    const held = exchange(url, { method: "GET", path: `/sessions/${id}/statements/0?wait=60s` });
    await service.until(() => service.http.app.server.listening);
    // The request is under way once another one, sent later, is answered.
    await exchange(url, { method: "GET", path: "/version" });
    service.http.drain();
    expect(await held).toMatchObject({ status: 200, body: { state: "waiting" }, headers: { connection: "close" } });
    const refused = await service.ask("POST", "/sessions", { body: {} });
    expect([refused.status, refused.headers["retry-after"]]).toEqual([503, "1"]);
    expect(service.launcher.drivers.length).toBe(1);
    expect([(await service.ask("GET", "/healthz")).status, (await service.ask("GET", "/readyz")).body]).toEqual([
      200,
      { status: "draining" },
    ]);
  });

  test("closes kept-alive connections and does not wait for callers who never finish", async () => {
    await using service = await Service.start();
    const { port } = new URL(await service.http.listen({ host: "127.0.0.1", port: 0 }));
    const idle = connect(Number(port), "127.0.0.1");
    const stuck = connect(Number(port), "127.0.0.1");
    for (const socket of [idle, stuck]) socket.on("error", () => undefined).resume();
    idle.write("GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stuck.write("POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{");
    await once(idle, "data");
    const ends = Promise.all([once(idle, "close"), once(stuck, "close")]);
    await service.http.close(300);
    await ends;
  });
});
