import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import { connect } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Answer, exchange } from "../kit/http.ts";
import { Livy, type Statement, textOf } from "../kit/livy.ts";
import { type Server, startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

const directory = mkdtempSync(join(tmpdir(), "lw-"));
afterAll(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));
const users = join(directory, "users.htpasswd");
writeFileSync(users, ["ann", "bob"].map((user) => `${user}:{SHA}${createHash("sha1").update(user).digest("base64")}`).join("\n"));
const as = (user: string) => ({ authorization: `Basic ${Buffer.from(`${user}:${user}`).toString("base64")}` });

let server: Server;
let livy: Livy;
let session: number;

beforeAll(async () => {
  const flags = ["--htpasswd", users, "--allow-shared-user", "--view-users", "bob"];
  server = await startServer({ flags, headers: as("ann") });
  livy = new Livy(server.url, as("ann"));
  session = (await livy.ready()).id;
}, 240_000);
afterAll(async () => {
  livy.close();
  await server[Symbol.asyncDispose]();
});

const ask = (method: string, path: string, headers: Record<string, string> = as("ann")): Promise<Answer> =>
  exchange(server.url, { method, path: path.startsWith("/sessions") ? path : `/sessions/${session}/ui${path}`, headers });
const run = async (code: string): Promise<string> => textOf(await livy.run(session, code, "pyspark", 90_000));
/** What a browser gets that follows one redirect. */
const follow = async (path: string): Promise<Answer> => {
  const { status, headers } = await ask("GET", path);
  expect(status).toBe(302);
  return ask("GET", String(headers.location));
};
const uiPort = async (): Promise<number> => Number(/:(\d+)/.exec(await run("print(sc.uiWebUrl)"))?.[1]);

describe("Spark's UI", () => {
  test("is there with its pages, whose links lead through the server", async () => {
    const { appInfo } = (await livy.session(session)) as unknown as { appInfo: Record<string, string> };
    expect(appInfo).toEqual({
      driverLogUrl: `${livy.url}/sessions/${session}/driver-log`,
      sparkUiUrl: `${livy.url}/sessions/${session}/ui/`,
      executorLogUrls: null,
    });
    await run("spark.range(1000).repartition(4).count()");
    const { status, headers, body } = await follow("/");
    expect([status, headers["content-type"]]).toEqual([200, "text/html;charset=utf-8"]);
    expect(body).toContain("Spark Jobs");
    const links = [...String(body).matchAll(/(?:href|src)="([^"#]+)/g)]
      .map(([, link = ""]) => link.replaceAll("&amp;", "&"))
      .filter((link) => link.startsWith("/"));
    const root = new RegExp(`^/sessions/${session}/ui/~[\\w-]{43}/`);
    expect(links.length).toBeGreaterThan(15);
    expect(links.filter((link) => !root.test(link))).toEqual([]);
    for (const link of new Set(links)) {
      // The logo leads to the first page.
      const isRoot = link.replace(root, "") === "";
      expect([link, (await ask("GET", link)).status]).toEqual([link, isRoot ? 302 : 200]);
    }
  });

  test("gives its scripts what they fetch, without credentials, by the ticket in their address", async () => {
    const location = String((await ask("GET", "/")).headers.location);
    const api = location.replace(/\/jobs\/$/, "/api/v1/applications");
    const fetched = { origin: "null", "sec-fetch-mode": "cors" };
    const list = await ask("GET", api, fetched);
    expect(list).toMatchObject({ status: 200, headers: { "access-control-allow-origin": "null" }, body: [{ id: expect.any(String) }] });
    const [{ id }] = list.body as [{ id: string }];
    expect((await ask("GET", `${api}/${id}/allexecutors`, fetched)).body).toMatchObject([{ id: "driver" }]);
    expect((await ask("GET", api, {})).status).toBe(200);
    expect((await ask("GET", "/api/v1/applications", fetched)).status).toBe(403);
    expect((await ask("GET", "/api/v1/applications", {})).status).toBe(401);
  });

  test("listens on loopback alone", async () => {
    const port = await uiPort();
    const open = (host: string) =>
      new Promise<boolean>((resolve) => {
        const socket = connect({ host, port });
        socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
        socket.once("connect", () => socket.destroy());
      });
    const others = Object.values(networkInterfaces()).flatMap((addresses) =>
      (addresses ?? []).flatMap(({ internal, family, address }) => (internal || family !== "IPv4" ? [] : [address])),
    );
    expect(await open("127.0.0.1")).toBe(true);
    for (const address of others) expect([address, await open(address)]).toEqual([address, false]);
  });

  test("kills a job for those who may modify the session, when they have been asked", async () => {
    const code = "import time; sc.range(1).map(lambda n: time.sleep(600)).collect()";
    const { id } = await livy.submit(session, code, "pyspark");
    const job = await until("a job runs", 30_000, async () => {
      const { body } = await ask("GET", "/api/v1/applications");
      const [{ id: application }] = body as [{ id: string }];
      const jobs = (await ask("GET", `/api/v1/applications/${application}/jobs?status=running`)).body as { jobId: number }[];
      return jobs[0]?.jobId;
    });
    const kill = `/jobs/job/kill/?id=${job}`;
    expect((await ask("GET", kill)).body).toContain(`Kill job ${job} of session ${session}?`);
    expect((await ask("GET", kill, as("bob"))).status).toBe(403);
    expect((await ask("POST", kill, as("bob"))).status).toBe(403);

    // As a browser does it: Spark's own button, on a page without an origin, then ours.
    const token = /csrfToken[^>]*value="(\w+)"|value="(\w+)"[^>]*csrfToken/.exec(String((await follow("/")).body));
    const form = new URLSearchParams({ id: String(job), csrfToken: token?.[1] ?? token?.[2] ?? "" }).toString();
    const post = (headers: Record<string, string>) =>
      exchange(server.url, {
        method: "POST",
        path: `/sessions/${session}/ui/jobs/job/kill/`,
        body: form,
        headers: { ...as("ann"), ...headers },
      });
    const question = await post({ origin: "null" });
    expect([question.status, question.body]).toEqual([200, expect.stringContaining(`Kill job ${job} of session ${session}?`)]);
    expect((await livy.statement(session, id)).state).toBe("running");
    const { status, headers } = await post({ origin: server.url });
    expect([status, headers.location]).toEqual([302, expect.stringMatching(/\/ui\/~[\w-]+\/jobs\/$/)]);
    expect(textOf(await livy.finished(session, id))).toMatch(/cancelled/i);
  });

  test("is found again after each of Spark's new lives, and missed in between with the reason", async () => {
    const [before, appId] = [await uiPort(), (await livy.session(session)).appId];
    await run("spark.stop()");
    const gone = await ask("GET", "/jobs/");
    expect([gone.status, gone.body]).toEqual([503, { msg: expect.stringMatching(/^Spark's UI does not take connections: .*refused/) }]);
    await run("from pyspark.sql import SparkSession; spark = SparkSession.builder.getOrCreate(); sc = spark.sparkContext");
    const renewed = await until("the session knows of the new application", 10_000, async () => {
      const info = await livy.session(session);
      return info.appId === appId ? undefined : info.appId;
    });
    expect(await run("print(sc.applicationId)")).toBe(renewed);
    expect((await follow("/")).status).toBe(200);
    expect(await uiPort()).not.toBe(before);

    const java = server.driverProcesses(session).find(({ command }) => command.includes("java"));
    process.kill(java?.pid ?? 0, "SIGKILL");
    await until("Spark is there again", 90_000, async () => (await ask("GET", "/jobs/")).status === 200 || undefined);
    expect(await run("print(spark.range(7).count())")).toBe("7");
    expect((await follow("/")).body).toContain("Spark Jobs");
  });
});

describe("whatever a driver serves in the place of Spark's UI", () => {
  beforeAll(async () => {
    await run(`
import http.server, threading, time, urllib.parse
port = urllib.parse.urlsplit(sc.uiWebUrl).port
spark.stop()
asked, sent = [], []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append([self.path, dict(self.headers)])
        self.send_response(200)
        for header in (("Content-Type", "text/html"), ("Set-Cookie", "evil=1; Path=/"), ("WWW-Authenticate", "Basic"),
                       ("Content-Security-Policy", "sandbox allow-same-origin allow-scripts"), ("Access-Control-Allow-Origin", "*")):
            self.send_header(*header)
        self.end_headers()
        try:
            while self.path == "/endless":
                self.wfile.write(b"x" * 65536)
                sent.append(65536)
            self.wfile.write(b"<html><head></head><script>steal()</script></html>")
        except OSError:
            sent.append("gone")
    def log_message(self, *_): pass
for _ in range(100):
    try:
        fake = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        break
    except OSError:
        time.sleep(0.1)
threading.Thread(target=fake.serve_forever, daemon=True).start()
`);
  }, 120_000);

  test("gets nobody's credentials, and its pages none of the server's trust", async () => {
    const secrets = { ...as("ann"), cookie: "login=ann", "x-requested-by": "ann", "x-forwarded-for": "10.9.8.7" };
    const { status, headers, body } = await ask("GET", "/page?a=b&token=secret", secrets);
    expect([status, body]).toEqual([200, expect.stringContaining("steal()")]);
    expect(headers["content-security-policy"]).toMatch(/^sandbox allow-scripts allow-forms allow-popups allow-modals; default-src 'self'/);
    for (const name of ["set-cookie", "www-authenticate", "access-control-allow-origin"]) expect(headers).not.toHaveProperty(name);
    const [path, seen] = JSON.parse(await run("import json; print(json.dumps(asked[-1]))")) as [string, Record<string, string>];
    expect(path).toBe("/page?a=b");
    expect(
      Object.keys(seen)
        .map((name) => name.toLowerCase())
        .sort(),
    ).toEqual(["connection", "host", "x-forwarded-context"]);
    expect(JSON.stringify(seen)).not.toMatch(/ann|secret|10\.9\.8\.7/);
  });

  test("is read as fast as its reader reads, and no longer", async () => {
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      http.get(`${server.url}/sessions/${session}/ui/endless`, { headers: as("ann") }, resolve).on("error", reject);
    });
    let before = "";
    await until("it is held up", 30_000, async () => {
      const sent = await run("print(sum(n for n in sent if n != 'gone'))");
      if (sent === before && sent !== "0") return true;
      before = sent;
      return undefined;
    });
    expect(Number(before)).toBeLessThan(64 * 1024 * 1024);
    response.destroy();
    await until("it has ended", 30_000, async () => (await run("print('gone' in sent)")) === "True" || undefined);
  });
});

describe("what is left when a driver has gone", () => {
  /** More than the server keeps in memory. */
  const LONG = 3_000_000;
  let log: string;
  let statements: readonly Statement[];
  const path = () => `/sessions/${session}/driver-log`;
  const lastLine = (text: unknown): string | undefined => String(text).trimEnd().split("\n").at(-1);

  beforeAll(async () => {
    const shell = await livy.run(session, "import os; os.system('echo from the shell >&2'); print('not in the log')", "pyspark");
    const long = [await livy.run(session, `print('a' * ${LONG})`, "pyspark"), await livy.run(session, `print('b' * ${LONG})`, "pyspark")];
    const failed = await livy.run(session, "1 / 0", "pyspark");
    statements = [shell, ...long, failed];
    log = await until("the log has what the shell said", 10_000, async () => {
      const { body } = await ask("GET", path());
      return String(body).includes("\nfrom the shell\n") ? String(body) : undefined;
    });
    await livy.submit(session, "import time; time.sleep(600)", "pyspark");
    await livy.expect(204, "POST", `/sessions/${session}/stop`);
  }, 120_000);

  test("is its log, which was text from its launch on", async () => {
    expect(log).toMatch(/^The driver's process is being started\.\n/);
    expect(log).toMatch(/log4j/i);
    expect(log).not.toContain("not in the log");
    const { headers, body } = await ask("GET", path());
    expect(headers["content-type"]).toBe("text/plain; charset=utf-8");
    expect(body).toContain("\nfrom the shell\n");
    expect(lastLine(body)).toBe("Session ended (dead): it was stopped");
    expect((await ask("GET", "/")).body).toEqual({ msg: `Session ${session} has ended (dead), and Spark's UI with it.` });
  });

  test("are its statements with all they showed, and both for the next server", async () => {
    const look = async () => {
      for (const statement of statements) expect(await livy.statement(session, statement.id)).toEqual(statement);
      const all = (await livy.statements(session)).statements;
      expect(all.map(({ state }) => state)).not.toContain("running");
      expect(textOf(all.at(-1) as Statement)).toMatch(/^(SessionEnded|DriverLost): /);
      return all.map(({ id, started, completed }) => [id, started, completed]);
    };
    const before = await look();
    await server.restart();
    expect(await look()).toEqual(before);
    const { body } = await ask("GET", path());
    expect(body).toContain("\nfrom the shell\n");
    expect(lastLine(body)).toBe("Session ended (dead): it was stopped");
  });
});

test("a JVM that talks without end fills neither driver.out nor the disk", async () => {
  const { id } = await livy.ready();
  const code = `
line = "x" * 1_000_000
for _ in range(60):
    sc._jvm.System.err.println(line)
    sc._jvm.System.out.println("\\n".join(["y" * 100] * 5000))
`;
  expect(textOf(await livy.run(id, code, "pyspark", 90_000))).toBe("");
  const directory = server.sessionDirectory(id);
  expect(statSync(join(directory, "driver.out")).size).toBeLessThan(64 * 1024);
  const sizes = readdirSync(join(directory, "journal", "log")).map((name) => statSync(join(directory, "journal", "log", name)).size);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(20 * 1024 * 1024);
});
