import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, get, type IncomingHttpHeaders, type RequestListener } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { Service, type ServiceOptions } from "../service.ts";

const dir = mkdtempSync(join(tmpdir(), "longwick-ui-"));
afterAll(() => rmSync(dir, { recursive: true }));
afterEach(() => void vi.useRealTimers());
const sha = (password: string) => `{SHA}${createHash("sha1").update(password).digest("base64")}`;
const htpasswdFile = join(dir, "users");
writeFileSync(htpasswdFile, ["ann", "bob", "eve"].map((user) => `${user}:${sha(user)}`).join("\n"));
const as = (user: string) => ({ authorization: `Basic ${Buffer.from(`${user}:${user}`).toString("base64")}` });

interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

/** A service with one session, whose UI answers by `answer` and keeps what it was asked. */
const start = async (answer: RequestListener, options: ServiceOptions = {}) => {
  const service = await Service.start(options);
  const { driver } = await service.ready({ kind: "pyspark" }, options.htpasswdFile === undefined ? {} : { headers: as("ann") });
  const asked: Asked[] = [];
  driver.ui = createServer((request, response) => {
    asked.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    answer(request, response);
  });
  return { service, driver, asked };
};
const page: RequestListener = (_request, response) => {
  response
    .writeHead(200, { "content-type": "text/html;charset=utf-8" })
    .end("<!DOCTYPE html><html><head><title>Jobs</title></head></html>");
};
const toJobs: RequestListener = (_request, response) => response.writeHead(302, { location: "http://spark-ui/jobs/?a=b" }).end();
const TICKET = /~[\w-]{43}/;

/** The ticket of session 0, as its pages have it. */
const ticketOf = async (service: Service, headers: Record<string, string> = {}): Promise<string> => {
  const { headers: answered } = await service.ask("GET", "/sessions/0/ui/", { headers });
  return TICKET.exec(String(answered["location"]))?.[0] ?? "none";
};

describe("what goes to a driver's UI", () => {
  test("is the path, the query and how the answer may look; nothing says who asks", async () => {
    const { service, asked } = await start(page, { htpasswdFile });
    await using _ = service;
    const secrets = {
      ...as("ann"),
      ...{
        cookie: "login=1",
        "proxy-authorization": "Basic eA==",
        "x-requested-by": "me",
        "x-forwarded-for": "10.0.0.1",
        referer: "http://here",
      },
      ...{
        "x-api-key": "k",
        via: "1.1 proxy",
        forwarded: "for=10.0.0.1",
        te: "trailers",
        "user-agent": "somebody",
        from: "ann@example.org",
      },
    };
    const url = "/sessions/0/ui/jobs/job/?id=%31&token=secret&access_token=secret&x=token";
    expect((await service.ask("GET", url, { headers: { ...secrets, accept: "image/png", "accept-language": "de" } })).status).toBe(200);
    expect(asked).toEqual([
      {
        method: "GET",
        url: "/jobs/job/?id=%31&x=token",
        headers: {
          ...{ accept: "image/png", "accept-language": "de", host: "spark-ui", connection: "keep-alive" },
          "x-forwarded-context": expect.stringMatching(/^\/sessions\/0\/ui\/~[\w-]{43}$/),
        },
      },
    ]);
  });

  test("goes over connections that are kept, and once more when one was closed meanwhile", async () => {
    const { service, driver, asked } = await start((request, response) => {
      if (request.url === "/close") response.once("finish", () => request.socket.destroy());
      response.end("x");
    });
    await using _ = service;
    const before = driver.dials;
    for (const path of ["a", "b", "close", "c", "d"]) expect((await service.ask("GET", `/sessions/0/ui/${path}`)).text).toBe("x");
    expect(asked.map(({ url }) => url)).toEqual(["/a", "/b", "/close", "/c", "/d"]);
    expect(driver.dials - before).toBe(2);
  });
});

describe("what comes from a driver's UI", () => {
  test("keeps what describes it, and nothing that a browser would do for it", async () => {
    const { service } = await start((_request, response) => {
      response.writeHead(200, {
        ...{ "content-type": "text/css", etag: '"1"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", "set-cookie": "evil=1; Path=/" },
        ...{ "www-authenticate": "Basic", "access-control-allow-origin": "*", "access-control-allow-credentials": "true", refresh: "0" },
        ...{
          "content-security-policy": "sandbox allow-same-origin",
          "service-worker-allowed": "/",
          "cache-control": "public",
          link: "</x>",
        },
        ...{ "strict-transport-security": "max-age=1", "clear-site-data": "*", "x-anything": "1", "content-disposition": "attachment" },
        ...{ "referrer-policy": "unsafe-url", "x-frame-options": "ALLOWALL", "x-content-type-options": "none", nel: "{}", "alt-svc": "h2" },
      });
      response.end("a {}");
    });
    await using _ = service;
    const { headers, text } = await service.ask("GET", "/sessions/0/ui/a.css");
    const { date: _date, "x-request-id": _id, ...kept } = headers;
    expect(kept).toEqual({
      ...{ "content-type": "text/css", etag: '"1"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", "cache-control": "no-store" },
      ...{ "x-content-type-options": "nosniff", "x-frame-options": "SAMEORIGIN", "referrer-policy": "no-referrer" },
      "content-security-policy": expect.stringMatching(/^sandbox allow-scripts [^;]*; default-src 'self'/),
      ...{ connection: "keep-alive", "transfer-encoding": "chunked" },
    });
    expect(kept["content-security-policy"]).not.toMatch(/allow-same-origin|allow-top-navigation|escape-sandbox|unsafe-eval/);
    expect(text).toBe("a {}");
  });

  test.each([
    ["/jobs/", "/jobs/"],
    ["http://spark-ui/executors/?x=1#y", "/executors/?x=1#y"],
    ["https://spark-ui/jobs/", "/jobs/"],
    ["kill", "/stages/kill"],
    ["http://evil.example/jobs/", null],
    ["//evil.example/", null],
    ["http://spark-ui:81/", null],
    ["javascript:alert(1)", null],
    ["http://[", null],
  ])("leads from %s to %s", async (location, path) => {
    const { service } = await start((_request, response) => response.writeHead(303, { location }).end());
    await using _ = service;
    const answer = await service.ask("GET", "/sessions/0/ui/stages/stage");
    expect(answer.status).toBe(303);
    expect(answer.headers["location"]?.toString().replace(TICKET, "T")).toBe(path === null ? undefined : `/sessions/0/ui/T${path}`);
  });

  test("leads nowhere twice: what already names the place is left as it is", async () => {
    const { service } = await start((request, response) => {
      response.writeHead(302, { location: `${String(request.headers["x-forwarded-context"])}/jobs/` }).end();
    });
    await using _ = service;
    const answer = await service.ask("GET", "/sessions/0/ui/");
    expect(answer.headers["location"]).toMatch(/^\/sessions\/0\/ui\/~[\w-]+\/jobs\/$/);
  });

  test("gets a storage that forgets when it is a page, and only then", async () => {
    const { service } = await start((request, response) => {
      const type = request.url === "/data" ? "text/plain" : "text/html; charset=utf-8";
      response.writeHead(200, { "content-type": type, ...(request.url === "/packed" ? { "content-encoding": "gzip" } : {}) });
      // In pieces, the tag cut in two.
      response.write("<!DOCTYPE html><html><he");
      setImmediate(() => response.end(request.url === "/long" ? `${" ".repeat(20_000)}>` : 'ad lang="en">é</head>'));
    });
    await using _ = service;
    const read = async (path: string) => (await service.ask("GET", `/sessions/0/ui/${path}`)).text;
    expect(await read("page")).toMatch(/^<!DOCTYPE html><html><head lang="en"><script>for \(.*localStorage[\s\S]*<\/script>é<\/head>$/);
    expect(await read("data")).toBe('<!DOCTYPE html><html><head lang="en">é</head>');
    expect(await read("packed")).toBe('<!DOCTYPE html><html><head lang="en">é</head>');
    expect(await read("long")).toBe(`<!DOCTYPE html><html><he${" ".repeat(20_000)}>`);
  });

  test("of Spark's own files is kept by browsers for a while", async () => {
    const { service } = await start((_request, response) => response.writeHead(200, { "content-type": "text/javascript" }).end("x"));
    await using _ = service;
    const { headers } = await service.ask("GET", "/sessions/0/ui/static/webui.js");
    expect(headers["cache-control"]).toBe("private, max-age=3600");
  });

  test("is passed on as it comes: a reader who stops holds it up, one who leaves ends it", async () => {
    let sent = 0;
    let ended = false;
    const { service } = await start((_request, response) => {
      response.writeHead(200, { "content-type": "text/plain" });
      const more = () => {
        while (!ended) {
          sent += 65_536;
          if (!response.write(Buffer.alloc(65_536, "x"))) return void response.once("drain", more);
        }
      };
      response.once("close", () => {
        ended = true;
      });
      more();
    });
    await using _ = service;
    const url = await service.http.listen({ host: "127.0.0.1", port: 0 });
    const request = get(`${url}/sessions/0/ui/endless`);
    const [response] = await once(request, "response");
    await once(response, "readable");
    let before = -1;
    await service.until(() => {
      const stands = before === sent;
      before = sent;
      return stands;
    });
    expect(sent).toBeLessThan(32 * 1024 * 1024);
    request.destroy();
    await service.until(() => ended);
  });
});

describe("who may look", () => {
  test("are those who may view the session; others learn nothing", async () => {
    const { service, asked } = await start(page, { htpasswdFile, access: { viewUsers: ["bob"] } });
    await using _ = service;
    const status = async (headers: Record<string, string>) => (await service.ask("GET", "/sessions/0/ui/jobs/", { headers })).status;
    expect([await status(as("ann")), await status(as("bob")), await status(as("eve")), await status({})]).toEqual([200, 200, 403, 401]);
    expect(asked).toHaveLength(2);
    for (const path of ["/sessions/9/ui/", `/sessions/9/ui/~${"x".repeat(43)}/jobs/`, `/sessions/0/ui/~${"x".repeat(43)}/jobs/`]) {
      expect((await service.ask("GET", path)).status).toBe(401);
    }
  });

  test("what a page's scripts fetch needs no credentials but the ticket in its address", async () => {
    const { service } = await start(toJobs, { htpasswdFile });
    await using _ = service;
    const ticket = await ticketOf(service, as("ann"));
    const url = `/sessions/0/ui/${ticket}/api/v1/applications`;
    const fetched = await service.ask("GET", url, { headers: { origin: "null", "sec-fetch-mode": "cors" } });
    expect([fetched.status, fetched.headers["access-control-allow-origin"]]).toEqual([302, "null"]);
    expect(fetched.headers["access-control-allow-credentials"]).toBeUndefined();
    const asking = { origin: "null", "access-control-request-method": "GET", "access-control-request-headers": "x-requested-with" };
    const preflight = await service.ask("OPTIONS", url, { headers: asking });
    expect([preflight.status, preflight.headers["access-control-allow-origin"]]).toEqual([204, "null"]);
    expect(preflight.headers["access-control-allow-headers"]).toBe("x-requested-with");
  });

  test("a ticket is for looking at one session's UI for a while, and for nothing else", async () => {
    const { service } = await start(toJobs, { htpasswdFile });
    await using _ = service;
    await service.ready({ kind: "pyspark" }, { headers: as("bob") });
    const ticket = await ticketOf(service, as("ann"));
    const from = { origin: "null" };
    const status = async (method: string, url: string, headers: Record<string, string> = from) =>
      (await service.ask(method, url, { headers })).status;
    expect(await status("GET", `/sessions/0/ui/${ticket}/jobs/`)).toBe(302);
    expect(await status("GET", `/sessions/1/ui/${ticket}/jobs/`)).toBe(403);
    expect(await status("GET", `/sessions/1/ui/${ticket}/jobs/`, {})).toBe(401);
    expect(await status("GET", "/sessions/0/ui/jobs/")).toBe(403);
    expect(await status("GET", `/sessions/0/${ticket}`)).toBe(403);
    expect(await status("POST", `/sessions/0/ui/${ticket}/jobs/job/kill/?id=0`)).toBe(401);
    expect(await status("POST", `/sessions/0/ui/${ticket}/jobs/job/kill/?id=0`, {})).toBe(401);
    expect(await status("GET", `/sessions/0/ui/${ticket}x/jobs/`)).toBe(403);
    // Who opens a page says who he is.
    expect(await status("GET", `/sessions/0/ui/${ticket}/jobs/`, { "sec-fetch-mode": "navigate" })).toBe(401);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3_600_000 });
    expect(await status("GET", `/sessions/0/ui/${ticket}/jobs/`)).toBe(302);
    vi.setSystemTime(Date.now() + 2 * 3_600_000);
    expect(await status("GET", `/sessions/0/ui/${ticket}/jobs/`)).toBe(403);
  });

  test("without authentication a page elsewhere gets nothing either", async () => {
    const { service } = await start(toJobs);
    await using _ = service;
    const ticket = await ticketOf(service);
    const status = async (url: string, headers: Record<string, string>) => (await service.ask("GET", url, { headers })).status;
    expect(await status(`/sessions/0/ui/${ticket}/jobs/`, { origin: "null" })).toBe(302);
    expect(await status("/sessions/0/ui/jobs/", { origin: "null" })).toBe(403);
    expect(await status("/sessions/0/ui/jobs/", { origin: "http://evil.example" })).toBe(403);
    expect(await status(`/sessions/0/ui/${ticket}/jobs/`, { origin: "null", host: "evil.example" })).toBe(403);
  });

  test("a service worker is nobody", async () => {
    const { service, asked } = await start(page);
    await using _ = service;
    expect((await service.ask("GET", "/sessions/0/ui/sw.js", { headers: { "service-worker": "script" } })).status).toBe(404);
    expect(asked).toEqual([]);
  });
});

describe("killing a job or a stage", () => {
  const rules: ServiceOptions = { htpasswdFile, access: { viewUsers: ["bob"] } };

  test("is asked about, by those who may modify the session", async () => {
    const { service, asked } = await start(toJobs, rules);
    await using _ = service;
    const url = "/sessions/0/ui/stages/stage/kill/?id=3&terminate=true";
    const answer = await service.ask("GET", url, { headers: as("ann") });
    expect(answer.text).toContain('Kill stage 3 of session 0?</p><form method="post">');
    expect(answer.headers["content-security-policy"]).toMatch(/^default-src 'none'; .*frame-ancestors 'none'$/);
    expect((await service.ask("GET", url, { headers: as("bob") })).status).toBe(403);
    for (const path of ["jobs/job/kill", "jobs/job/kill/?id=<b>", "jobs/job/kill/x", "jobs/job/%6bill/?id=1"]) {
      const { text } = await service.ask("GET", `/sessions/0/ui/${path}`, { headers: as("ann") });
      expect(text).toMatch(/Kill job [?1] of session 0\?/);
    }
    expect(asked).toEqual([]);
  });

  test("is done by a POST of theirs, from the page that asked or from a program", async () => {
    const { service, asked } = await start(toJobs, rules);
    await using _ = service;
    const kill = (user: string, headers: Record<string, string> = {}) =>
      service.ask("POST", "/sessions/0/ui/jobs/job/kill/?id=3", { headers: { ...as(user), ...headers } });
    expect((await kill("bob")).status).toBe(403);
    expect((await kill("eve")).status).toBe(403);
    expect((await service.ask("POST", "/sessions/0/ui/jobs/job/kill/?id=3")).status).toBe(401);
    expect(asked).toEqual([]);
    const form = { origin: "http://localhost:8998", "content-type": "application/x-www-form-urlencoded" };
    for (const headers of [form, {}]) {
      const answer = await kill("ann", headers);
      expect([answer.status, answer.headers["location"]]).toEqual([302, expect.stringMatching(/\/jobs\/\?a=b$/)]);
    }
    expect(asked.map(({ method, url }) => `${method} ${url}`)).toEqual(Array(2).fill("POST /jobs/job/kill/?id=3"));
  });

  test("is asked about when a page without an origin sends Spark's form, and then done with what the form said", async () => {
    const bodies: string[] = [];
    const { service, asked } = await start(async (request, response) => {
      bodies.push(await text(request));
      toJobs(request, response);
    }, rules);
    await using _ = service;
    const url = `/sessions/0/ui/${await ticketOf(service, as("ann"))}/stages/stage/kill/`;
    const payload = `id=7&terminate=true&csrfToken=${encodeURIComponent('a"&<')}&other=1`;
    for (const origin of ["null", "http://evil.example"]) {
      expect((await service.ask("POST", url, { payload, headers: { ...as("bob"), origin } })).status).toBe(403);
      expect((await service.ask("POST", url, { payload, headers: { origin } })).status).toBe(401);
      const page = await service.ask("POST", url, { payload, headers: { ...as("ann"), origin } });
      expect([page.status, page.headers["content-type"]]).toEqual([200, "text/html; charset=utf-8"]);
      expect(page.text).toContain(
        '<p>Kill stage 7 of session 0?</p><form method="post"><input type="hidden" name="id" value="7">' +
          '<input type="hidden" name="terminate" value="true"><input type="hidden" name="csrfToken" value="a&quot;&amp;&lt;">',
      );
    }
    expect(asked).toHaveLength(1);
    expect((await service.ask("POST", url, { payload, headers: { ...as("ann"), origin: "http://localhost:8998" } })).status).toBe(302);
    expect(bodies.at(-1)).toBe("id=7&terminate=true&csrfToken=a%22%26%3C");
    expect(asked.at(-1)?.headers).toMatchObject({ "content-type": "application/x-www-form-urlencoded" });
    const long = await service.ask("POST", url, { payload: `id=7&x=${"y".repeat(5_000)}`, headers: as("ann") });
    expect(long.status).toBe(413);
  });

  test("needs no further header from our own page where programs need one", async () => {
    await using guarded = await Service.start({ http: { csrfHeader: true } });
    const post = async (headers: Record<string, string>) =>
      (await guarded.ask("POST", "/sessions/0/ui/jobs/job/kill/?id=3", { headers })).status;
    expect([await post({}), await post({ "x-requested-by": "me" }), await post({ origin: "http://localhost:8998" })]).toEqual([
      400, 404, 404,
    ]);
    const elsewhere = await guarded.ask("POST", "/sessions", { headers: { origin: "null" } });
    expect(elsewhere.status).toBe(403);
  });

  test("is all that a POST can do there", async () => {
    const { service, asked } = await start(toJobs);
    await using _ = service;
    const answer = await service.ask("POST", "/sessions/0/ui/environment/");
    expect([answer.status, answer.headers["allow"]]).toEqual([405, "GET, HEAD"]);
    expect((await service.ask("DELETE", "/sessions/0/ui/jobs/job/kill/?id=3")).status).toBe(405);
    expect(asked).toEqual([]);
  });
});

describe("where there is no UI the answer says why, as JSON or as a page", () => {
  const html = { accept: "text/html,*/*" };
  const facts = { python: "3", spark: "4", appId: "local-1", sparkUser: null, ipython: null };

  test("no such session", async () => {
    await using service = await Service.start();
    expect(await service.ask("GET", "/sessions/7/ui/")).toMatchObject({ status: 404, body: { msg: "Session '7' not found." } });
    const shown = await service.ask("GET", "/sessions/%3Cb%3E/ui/", { headers: html });
    expect([shown.status, shown.headers["content-type"]]).toEqual([404, "text/html; charset=utf-8"]);
    expect(shown.text).toContain("Session '&lt;b&gt;' not found.");
  });

  test("not yet", async () => {
    await using service = await Service.start();
    await service.ask("POST", "/sessions", { body: { kind: "pyspark" } });
    const answer = await service.ask("GET", "/sessions/0/ui/");
    expect(answer).toMatchObject({ status: 503, body: { msg: "Spark's UI is not there yet: session 0 is in state starting." } });
    const shown = await service.ask("GET", "/sessions/0/ui/", { headers: html });
    expect([shown.status, shown.headers["retry-after"]]).toEqual([503, "3"]);
    expect(shown.text).toContain('<meta http-equiv="refresh"');
  });

  test("switched off", async () => {
    await using service = await Service.start();
    const { driver } = await service.ready();
    driver.emit("interpreter", { phase: "ready", reason: null, facts: { ...facts, uiUrl: null } });
    await service.until(() => service.sessions.find("0", { name: null, remote: null }, "view").facts?.uiUrl === null);
    const answer = await service.ask("GET", "/sessions/0/ui/");
    expect(answer).toMatchObject({ status: 404, body: { msg: "Spark shows no UI in session 0 (spark.ui.enabled=false)." } });
    const { body } = await service.ask("GET", "/sessions/0");
    expect(body).toMatchObject({ appInfo: { sparkUiUrl: null, driverLogUrl: "http://localhost:8998/sessions/0/driver-log" } });
  });

  test("over", async () => {
    const { service } = await start(page);
    await using _ = service;
    const ticket = await ticketOf(service);
    await service.ask("POST", "/sessions/0/stop");
    expect(await service.ask("GET", "/sessions/0/ui/")).toMatchObject({
      status: 404,
      body: { msg: "Session 0 has ended (dead), and Spark's UI with it." },
    });
    expect((await service.ask("GET", `/sessions/0/ui/${ticket}/`, { headers: { origin: "null" } })).status).toBe(403);
    expect((await service.ask("GET", "/sessions/0")).body).toMatchObject({ appInfo: { sparkUiUrl: null } });
  });

  test("nothing listens, it answers nonsense, it hangs up", async () => {
    const { service, driver } = await start((_request, response) => void response.socket?.end("no HTTP\r\n\r\n"));
    await using _ = service;
    expect(await service.ask("GET", "/sessions/0/ui/x")).toMatchObject({
      status: 503,
      body: { msg: expect.stringMatching(/^Spark's UI does not answer: .*Parse Error/) },
    });
    driver.ui?.removeAllListeners("request").on("request", (request) => void request.socket.destroy());
    expect((await service.ask("GET", "/sessions/0/ui/x")).body).toMatchObject({ msg: "Spark's UI does not answer: socket hang up." });
    driver.ui = null;
    expect((await service.ask("GET", "/sessions/0/ui/x")).body).toMatchObject({
      msg: "Spark's UI does not take connections: refused.",
    });
  });

  test("a driver of an older release", async () => {
    const { service, driver } = await start(page);
    await using _ = service;
    driver.versions = [1];
    expect((await service.ask("GET", "/sessions/0/ui/")).status).toBe(501);
  });
});

describe("behind a proxy, below a base path", () => {
  const options = { basePath: "/spark", trustedProxies: ["10.1.1.1"], hostNames: ["hub.example"] };
  const through = { "x-forwarded-proto": "https", "x-forwarded-host": "hub.example", "x-forwarded-prefix": "/a" };
  const callers = [
    [{}, "127.0.0.1", "http://localhost:8998/spark"],
    [through, "10.1.1.1", "https://hub.example/a/spark"],
    [through, "127.0.0.1", "http://localhost:8998/spark"],
  ] as const;

  const startThere = async () => {
    const service = await Service.start({ http: options });
    await service.ask("POST", "/spark/sessions", { body: { kind: "pyspark" } });
    const driver = service.launcher.driver(0);
    const facts = { python: "3", spark: "4", appId: "local-1", uiUrl: "http://10.0.0.7:4040", sparkUser: null, ipython: null };
    driver.emit("interpreter", { phase: "ready", reason: null, facts });
    await service.until(() => service.sessions.find("0", { name: null, remote: null }, "view").state === "idle");
    return { service, driver };
  };

  test("a session tells where its UI is in the caller's eyes", async () => {
    const { service } = await startThere();
    await using _ = service;
    for (const [headers, remote, at] of callers) {
      const appInfo = { driverLogUrl: `${at}/sessions/0/driver-log`, sparkUiUrl: `${at}/sessions/0/ui/`, executorLogUrls: null };
      expect((await service.ask("GET", "/spark/sessions/0", { headers, remote })).body).toMatchObject({ appInfo });
      expect((await service.ask("GET", "/spark/sessions", { headers, remote })).body).toMatchObject({ sessions: [{ appInfo }] });
    }
  });

  test("the UI is told where its pages are in the caller's eyes", async () => {
    const { service, driver } = await startThere();
    await using _ = service;
    const contexts: unknown[] = [];
    driver.ui = createServer((request, response) => {
      contexts.push(request.headers["x-forwarded-context"]);
      toJobs(request, response);
    });
    for (const [headers, remote, at] of callers) {
      const { location } = (await service.ask("GET", "/spark/sessions/0/ui/", { headers, remote })).headers;
      expect(location?.toString().replace(TICKET, "T")).toBe(`${new URL(at).pathname}/sessions/0/ui/T/jobs/?a=b`);
      expect(`${String(contexts.at(-1))}/jobs/?a=b`).toBe(location);
    }
  });
});
