import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "vitest";
import { Access } from "../../../src/core/access.ts";
import { Uploads } from "../../../src/core/uploads.ts";
import { openDirectoryStore } from "../../../src/uploads/directory.ts";
import { Service } from "../service.ts";

const form = (filename: string, content: Buffer, field = "file") => ({
  headers: { "content-type": "multipart/form-data; boundary=b" },
  payload: Buffer.concat([
    Buffer.from(
      `--b\r\nContent-Disposition: form-data; name="${field}"; filename="${filename}"\r\nContent-Type: application/octet-stream\r\n\r\n`,
    ),
    content,
    Buffer.from("\r\n--b--\r\n"),
  ]),
});

/** A session whose driver runs what is silent at once. */
const started = async (service: Service) => {
  const { driver } = await service.ready();
  const said: string[] = [];
  driver.on("submit", ({ key, code, kind, origin, silent }) => {
    said.push(String(code));
    driver.emit("queued", { statement: -1, key, code, kind, origin, silent });
    driver.emit("finished", { statement: -1, outcome: "ok", rung: null });
    return { result: { statement: -1 } };
  });
  return { driver, said };
};

test("a file goes to the driver in pieces and is then added", async ({ expect }) => {
  await using service = await Service.start();
  const { driver, said } = await started(service);
  const content = Buffer.alloc(500_000, "é\n");
  expect(await service.ask("POST", "/sessions/0/upload-pyfile", form("lib.py", content))).toMatchObject({
    status: 200,
    body: { msg: "uploaded" },
  });
  const pieces = driver.requests.filter(({ frame }) => frame === "upload");
  expect(pieces.length).toBeGreaterThan(2);
  expect(Buffer.concat(pieces.map(({ data }) => Buffer.from(String(data), "base64")))).toEqual(content);
  expect(new Set(pieces.map(({ upload, name }) => `${upload}/${name}`)).size).toBe(1);
  expect(said).toEqual(['__import__("pyspark").SparkContext.getOrCreate().addPyFile("/driver/lib.py")']);
});

test.for([
  ["no form", {}],
  ["JSON", { body: { uri: "x" } }],
  ["a body as curl -d sends it", { headers: { "content-type": "application/x-www-form-urlencoded" }, payload: "a,b" }],
  [
    "a form without a file",
    {
      headers: { "content-type": "multipart/form-data; boundary=b" },
      payload: '--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n',
    },
  ],
] as const)("%s is no file", async ([, asking], { expect }) => {
  await using service = await Service.start();
  await started(service);
  expect(await service.ask("POST", "/sessions/0/upload-file", asking)).toMatchObject({
    status: 400,
    body: { msg: expect.stringMatching(/^No file sent! Send a form /) },
  });
});

test("a file over the limit is refused with the limit and never added", async ({ expect }) => {
  await using service = await Service.start();
  const { said } = await started(service);
  const answer = await service.ask("POST", "/sessions/0/upload-jar", form("big.jar", Buffer.alloc(1024 * 1024 + 1), "jar"));
  expect(answer).toMatchObject({ status: 413, body: { msg: expect.stringContaining("1048576 bytes") } });
  expect(said).toEqual([]);
});

test("a driver of an older release takes no files and says so", async ({ expect }) => {
  await using service = await Service.start();
  const { driver } = await started(service);
  driver.versions = [1];
  driver.cut();
  await service.until(() => driver.connections.length > 0);
  expect((await service.ask("POST", "/sessions/0/upload-file", form("a", Buffer.from("1")))).status).toBe(501);
});

test("a refusal reaches a client that sends all of its file first", async ({ expect }) => {
  await using service = await Service.start();
  await service.ready();
  await service.ask("POST", "/sessions/0/stop");
  const url = new URL(await service.http.listen({ host: "127.0.0.1", port: 0 }));
  const { payload } = form("big.jar", Buffer.alloc(32 * 1024 * 1024));
  const socket = connect(Number(url.port), url.hostname);
  socket.write(
    `POST /sessions/0/upload-jar HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${payload.length}\r\ncontent-type: multipart/form-data; boundary=b\r\n\r\n`,
  );
  const sent = new Promise<Error | undefined>((resolve) => socket.write(payload, (error) => resolve(error ?? undefined)));
  let answer = "";
  socket.setEncoding("utf8").on("data", (more: string) => {
    answer += more;
  });
  expect(await sent).toBeUndefined();
  await expect.poll(() => answer).toMatch(/^HTTP\/1\.1 400 .*Session is in state dead/s);
  socket.destroy();
});

test("nothing is opened of an upload that a session which has ended is given", async ({ expect }) => {
  const directory = mkdtempSync(join(tmpdir(), "lw-added-"));
  const store = openDirectoryStore(directory);
  const opened: string[] = [];
  const read = store.read.bind(store);
  store.read = (key, ...rest) => {
    opened.push(key);
    return read(key, ...rest);
  };
  const access = new Access({ superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] });
  const uploads = new Uploads({
    ...{
      store,
      access,
      rules: { limitBytes: 1_000, quotaBytes: 0, quotaFiles: 0, retentionMs: 0 },
      clock: { now: Date.now },
      named: () => new Set<string>(),
    },
  });
  await using service = await Service.start({ livy: { paths: { driversAreHere: true, localDirs: [], uploads } } });
  await service.ready();
  await service.ask("POST", "/sessions/0/stop");
  const { uri } = (await service.ask("POST", "/uploads", form("a.txt", Buffer.from("abc")))).body as { uri: string };
  const added = await service.ask("POST", "/sessions/0/add-file", { body: { uri } });
  expect(added).toMatchObject({ status: 400, body: { msg: "Session is in state dead" } });
  expect(opened.filter((key) => key.endsWith("/data"))).toEqual([]);
  rmSync(directory, { recursive: true, force: true });
});
