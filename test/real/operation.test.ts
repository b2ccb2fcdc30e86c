import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config.ts";
import { prepare } from "../../src/prepare.ts";
import { openServer } from "../../src/server.ts";
import { exchange } from "../kit/http.ts";
import { Livy, type SessionInfo, type Statement, textOf } from "../kit/livy.ts";
import { driverPython } from "../kit/python.ts";
import { type Server, startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

const directory = mkdtempSync(join(tmpdir(), "lw-"));
afterAll(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));

/** The command line; leaves its exit code in a file when it ends by itself, and nothing when a signal ends it. */
const recordingEntry = (file: string): string => {
  const entry = join(directory, "recording.mjs");
  const cli = new URL("../../src/cli.ts", import.meta.url).href;
  const record = `process.on("exit", (code) => writeFileSync(${JSON.stringify(file)}, \`\${code}\\n\`));`;
  writeFileSync(entry, `import { writeFileSync } from "node:fs";\n${record}\nawait import(${JSON.stringify(cli)});\n`);
  return entry;
};
const wholeFile = (file: string): string | undefined => {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  return text.endsWith("\n") ? text : undefined;
};

test("a server that is told to end answers what waits, leaves with 0, and its sessions go on", { timeout: 240_000 }, async () => {
  const exitCode = join(directory, "exit-code");
  const [go, gone] = [join(directory, "go"), join(directory, "gone")];
  await using server = await startServer({ entry: recordingEntry(exitCode) });
  const livy = new Livy(server.url);
  const { id } = await livy.ready();
  const { id: statement } = await livy.submit(
    id,
    `import os, time
while not os.path.exists(${JSON.stringify(go)}):
    time.sleep(0.05)
print("done")
with open(${JSON.stringify(gone)}, "w") as file:
    print("gone", file=file)`,
  );
  await livy.running(id, statement);
  // It is answered well before what it asks for is over.
  const held = livy.ask("GET", `/sessions/${id}/statements/${statement}?wait=60s`, null, 40_000);
  // Another connection's request, answered: the held one, sent before, is there.
  await livy.session(id);

  process.kill(server.pid, "SIGTERM");
  expect(await held).toMatchObject({ status: 200, body: { id: statement, state: "running", output: null } });
  expect(await until("the server has left by itself", 30_000, () => wholeFile(exitCode))).toBe("0\n");
  await until("its last words", 10_000, () => (server.written.includes("1 session goes on without the server") ? true : undefined));

  // Nobody serves it now, and the statement ends.
  writeFileSync(go, "");
  await until("the statement's end without a server", 60_000, () => wholeFile(gone));
  await server.restart();
  const ended = await livy.finished(id, statement);
  expect([ended.state, textOf(ended)]).toEqual(["available", "done"]);
  livy.close();
});

test("a server that something holds when it is told to end leaves all the same, and says what that is", { timeout: 60_000 }, async () => {
  const exitCode = join(directory, "held-exit-code");
  const entry = join(directory, "held.mjs");
  writeFileSync(entry, `setInterval(() => undefined, 1e9);\nawait import(${JSON.stringify(recordingEntry(exitCode))});\n`);
  await using server = await startServer({ entry, flags: ["--drain-ms", "100"] });
  process.kill(server.pid, "SIGTERM");
  expect(await until("it has left", 30_000, () => wholeFile(exitCode))).toBe("1\n");
  await until("its last words", 10_000, () => (/"held":\[.*"Timeout".*leaves as it is/.test(server.written) ? true : undefined));
  await server.kill();
});

describe("a server in an ASCII locale, with a time zone, for a user who may impersonate", () => {
  let server: Server;
  let livy: Livy;
  let session: number;

  beforeAll(async () => {
    const htpasswd = join(directory, "users.htpasswd");
    writeFileSync(htpasswd, `ann:{SHA}${createHash("sha1").update("secret").digest("base64")}\n`);
    const headers = { Authorization: `Basic ${Buffer.from("ann:secret").toString("base64")}` };
    server = await startServer({
      env: { LC_ALL: "POSIX", LANG: "C", PYTHONIOENCODING: "ascii" },
      flags: ["--spark-time-zone", "Asia/Tokyo", "--htpasswd", htpasswd, "--impersonators", "ann"],
      headers,
    });
    livy = new Livy(server.url, headers);
    session = (await livy.ready({ kind: "pyspark", proxyUser: "bob" })).id;
  }, 180_000);
  afterAll(() => server[Symbol.asyncDispose]());

  const run = (code: string): Promise<Statement> => livy.run(session, code, "pyspark", 90_000);

  test("code and output are UTF-8, and Spark's time zone is the operator's", async () => {
    const statement = await run(`print('é ✓')\nspark.sql("select current_timezone()").first()[0]`);
    expect(textOf(statement)).toBe("é ✓\n'Asia/Tokyo'");
  });

  test("a proxyUser's session belongs to who asked, and Spark runs as the other", async () => {
    expect(await livy.expect<SessionInfo>(200, "GET", `/sessions/${session}`)).toMatchObject({ owner: "ann", proxyUser: "bob" });
    expect(textOf(await run("sc.parallelize([1, 2]).sum()"))).toBe("3");
    expect(textOf(await run("sc.sparkUser()"))).toBe("'bob'");
  });

  test("nobody gets in without the password", async () => {
    expect((await exchange(server.url, { method: "GET", path: "/sessions" })).status).toBe(401);
  });
});

test("a server with a certificate speaks TLS, and nothing else", async () => {
  const [cert, key] = [join(directory, "cert.pem"), join(directory, "key.pem")];
  execFileSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-days",
      "2",
      "-subj",
      "/CN=localhost",
      "-addext",
      "subjectAltName=IP:127.0.0.1",
    ].concat(["-keyout", key, "-out", cert]),
    { stdio: "pipe", timeout: 60_000 },
  );
  const { config } = loadConfig(
    ["--port=0", `--runtime-dir=${join(directory, "tls")}`, `--python=${await driverPython()}`, `--tls-cert=${cert}`, `--tls-key=${key}`],
    {},
  );
  const prepared = await prepare(config, () => undefined, AbortSignal.timeout(90_000));
  const server = await openServer(config, prepared, "0.0.1", pino({ level: "silent" }));
  const agent = new https.Agent({ ca: readFileSync(cert) });
  try {
    expect(server.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const healthz = { method: "GET", path: "/healthz" };
    expect((await exchange(server.url, healthz, agent)).status).toBe(200);
    await expect(exchange(server.url.replace(/^https:/, "http:"), healthz)).rejects.toThrow(/socket hang up|ECONNRESET/);
  } finally {
    agent.destroy();
    await server.end();
  }
});
