import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { BUCKET_ENV, Bucket } from "../../kit/bucket.ts";
import { Livy, textOf } from "../../kit/livy.ts";
import { type Server, startServer } from "../../kit/server.ts";
import { TcpProxy } from "../../kit/tcp-proxy.ts";
import { until } from "../../kit/until.ts";
import { sendFile, wheelOf } from "../../kit/uploads.ts";

/** Local drivers cannot read a bucket: they are sent what they wait for over their links, as pods are. */
let bucket: Bucket;
/** What the server reaches the bucket through. */
let store: TcpProxy;
let server: Server;
let livy: Livy;
beforeAll(async () => {
  bucket = await Bucket.start();
  store = await TcpProxy.before(Number(new URL(bucket.settings.endpoint).port));
  const flags = ["--upload-bucket", bucket.url, "--upload-endpoint", `http://127.0.0.1:${store.port}`, "--orphan-timeout-ms", "60s"];
  server = await startServer({ flags, env: BUCKET_ENV });
  livy = new Livy(server.url);
});
afterAll(async () => {
  livy.close();
  await server[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  await bucket[Symbol.asyncDispose]();
});

const send = async (name: string, content: Uint8Array | string) => {
  const { status, body } = await sendFile(`${server.url}/uploads`, name, content);
  expect({ status, msg: body.msg }).toEqual({ status: 201 });
  return body;
};
const logOf = async (id: number): Promise<string> => String((await livy.ask("GET", `/sessions/${id}/driver-log`)).body);
/** Files of uploads that are with the driver. */
const filesOf = (id: number): readonly string[] => {
  const directory = join(server.sessionDirectory(id), "uploads");
  return existsSync(directory) ? readdirSync(directory, { recursive: true }).map(String) : [];
};

test("a driver gets from a bucket what it was told to use, before Spark is started", { timeout: 120_000 }, async () => {
  const wheel = wheelOf("lwbucket", "VALUE = 'sent'\n");
  const upload = await send(wheel.name, wheel.content);
  const { id } = await livy.ready({ kind: "pyspark", pyFiles: [upload.uri] });
  const code = "import lwbucket\n[lwbucket.VALUE] == sc.parallelize([0]).map(lambda _: __import__('lwbucket').VALUE).collect()";
  expect(textOf(await livy.run(id, code))).toBe("True");
  const log = await logOf(id);
  expect(log).toContain(`Waiting for uploads before Spark is started: ${wheel.name}.`);
  expect(log).toContain(`Upload ${wheel.name} is there (${wheel.content.length} bytes).`);
  await livy.delete(id);
});

test("a server killed while it sends is followed by one that goes on", { timeout: 180_000 }, async () => {
  const content = Buffer.alloc(192 * 1024 * 1024, "0123456789abcdef");
  const upload = await send("large.bin", content);
  store.holdAfter(content.length / 2);
  const { id } = await livy.create({ kind: "pyspark", files: [upload.uri] });
  await until("a part of the file is there", 30_000, () => (filesOf(id).some((path) => path.endsWith(".part")) ? true : undefined));
  await server.kill();
  expect(filesOf(id).filter((path) => path.endsWith("large.bin"))).toEqual([]);
  store.letGo();
  await server.start();
  await livy.inState(id, ["idle"]);
  const code = `import hashlib\nfrom pyspark import SparkFiles\nhashlib.sha256(open(SparkFiles.get("large.bin"), "rb").read()).hexdigest()`;
  expect(textOf(await livy.run(id, code))).toBe(`'${upload.sha256}'`);
  await livy.delete(id);
});

test("a session whose upload is gone from the store ends and says so", async () => {
  const upload = await send("gone.jar", "x");
  const { Bucket: name, Prefix } = { Bucket: bucket.settings.bucket, Prefix: bucket.settings.prefix };
  const { DeleteObjectCommand } = await import("@aws-sdk/client-s3");
  await bucket.client.send(new DeleteObjectCommand({ Bucket: name, Key: `${Prefix}/${upload.id}/data` }));
  const { id } = await livy.create({ kind: "pyspark", jars: [upload.uri] });
  await livy.inState(id, ["dead"]);
  expect(await logOf(id)).toContain(`Session ended (dead): The driver waits for an upload. Upload '${upload.id}' not found`);
});
