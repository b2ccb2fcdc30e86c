import { chmodSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Livy, textOf } from "../../kit/livy.ts";
import { type Server, startServer } from "../../kit/server.ts";
import { until } from "../../kit/until.ts";
import { sendFile, type UploadInfo, wheelOf, zipOf } from "../../kit/uploads.ts";

let server: Server;
let livy: Livy;
beforeAll(async () => {
  // Executors are processes of their own: what they have they were sent.
  server = await startServer({
    flags: ["--spark-conf", "spark.master=local-cluster[1,1,600]", "--spark-conf", "spark.executor.memory=600m"],
  });
  livy = new Livy(server.url);
});
afterAll(async () => {
  livy.close();
  await server[Symbol.asyncDispose]();
});

const send = async (name: string, content: Uint8Array | string): Promise<UploadInfo> => {
  const { status, body } = await sendFile(`${server.url}/uploads`, name, content);
  expect(body).toMatchObject({ name });
  expect(status).toBe(201);
  return body;
};

describe("uploads in sessions", () => {
  test("a wheel, a module, a jar, a file and an archive are there in the driver and in executors' tasks", {
    timeout: 240_000,
  }, async () => {
    const wheel = wheelOf("lwprobe", "VALUE = 'from the wheel'\n");
    const uploads = {
      wheel: await send(wheel.name, wheel.content),
      module: await send("größe 1.py", "VALUE = 'from the module'\n"),
      jar: await send("probe.jar", zipOf({ "probe.txt": "from the jar" })),
      file: await send("data é.csv", "1;2\n"),
      archive: await send("env.zip", zipOf({ "inside.txt": "from the archive" })),
    };
    expect(uploads.file.uri).toBe(`upload:/${uploads.file.id}/data%20%C3%A9.csv`);
    const { id } = await livy.ready({
      kind: "pyspark",
      pyFiles: [uploads.wheel.uri],
      jars: [uploads.jar.uri],
      files: [uploads.file.uri],
      archives: [`${uploads.archive.uri}#env`],
      conf: { "spark.submit.pyFiles": uploads.module.uri },
    });
    const told = textOf(
      await livy.run(
        id,
        `import importlib
from pyspark import SparkFiles
def probe(_=None):
    import importlib, importlib.metadata, lwprobe, os
    from pyspark import SparkFiles
    return [lwprobe.VALUE, importlib.metadata.version("lwprobe"), importlib.import_module("größe 1").VALUE,
            open(SparkFiles.get("data é.csv")).read(), open(SparkFiles.get("env") + "/inside.txt").read()]
assert probe() == sc.parallelize([0], 1).map(probe).collect()[0], (probe(), sc.parallelize([0], 1).map(probe).collect()[0])
stream = sc._jvm.java.lang.Thread.currentThread().getContextClassLoader().getResourceAsStream("probe.txt")
print(probe(), bytes(stream.readAllBytes()).decode(), sc.master)`,
      ),
    );
    expect(told).toBe("['from the wheel', '1.2', 'from the module', '1;2\\n', 'from the archive'] from the jar local-cluster[1,1,600]");

    const refused = await livy.ask("DELETE", `/uploads/${uploads.wheel.id}`);
    expect(refused).toMatchObject({ status: 409, body: { msg: expect.stringContaining("in use") } });
    await livy.delete(id);
    expect(await livy.ask("DELETE", `/uploads/${uploads.wheel.id}`)).toMatchObject({ status: 200 });
    expect(await livy.ask("GET", `/uploads/${uploads.wheel.id}`)).toMatchObject({ status: 404 });
    expect(await livy.ask("POST", "/sessions", { pyFiles: [uploads.wheel.uri] })).toMatchObject({
      status: 400,
      body: { msg: expect.stringContaining("not found") },
    });
  });

  test("a batch runs an uploaded file with an uploaded wheel, and what it names stays until its end", { timeout: 240_000 }, async () => {
    const wheel = wheelOf("lwbatch", "VALUE = 'from the wheel'\n");
    const library = await send(wheel.name, wheel.content);
    const go = join(server.directory, "go");
    const application = await send(
      "größe 1.py",
      `import os, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print("told:", spark.sparkContext.parallelize([0], 1).map(lambda _: __import__("lwbatch").VALUE).collect()[0], flush=True)
while not os.path.exists(${JSON.stringify(go)}):
    time.sleep(0.1)
`,
    );
    const { id } = await livy.expect<{ id: number }>(201, "POST", "/batches", { file: application.uri, pyFiles: [library.uri] });
    await until("the batch has run its job", 120_000, async () => {
      const { log } = await livy.expect<{ log: readonly string[] }>(200, "GET", `/batches/${id}/log?size=-1`);
      if ((await livy.expect<{ state: string }>(200, "GET", `/batches/${id}`)).state === "dead") throw new Error(log.join("\n"));
      return log.some((line) => line.includes("told: from the wheel")) ? true : undefined;
    });
    for (const { id: upload } of [library, application])
      expect(await livy.ask("DELETE", `/uploads/${upload}`)).toMatchObject({ status: 409 });
    writeFileSync(go, "");
    await until("the batch has ended well", 60_000, async () => {
      const { state } = await livy.expect<{ state: string }>(200, "GET", `/batches/${id}`);
      return state === "success" ? true : undefined;
    });
    for (const { id: upload } of [library, application])
      expect(await livy.ask("DELETE", `/uploads/${upload}`)).toMatchObject({ status: 200 });
    await livy.ask("DELETE", `/batches/${id}`);
  });

  test("a running session takes an upload too", { timeout: 120_000 }, async () => {
    const wheel = wheelOf("lwlate", "VALUE = 7\n");
    const [late, file] = [await send(wheel.name, wheel.content), await send("late.txt", "late")];
    const { id } = await livy.ready();
    for (const [resource, { uri }] of [
      ["pyfile", late],
      ["file", file],
    ] as const)
      expect(await livy.ask("POST", `/sessions/${id}/add-${resource}`, { uri })).toMatchObject({ status: 200 });
    const code = "from pyspark import SparkFiles\nimport lwlate\nlwlate.VALUE, open(SparkFiles.get('late.txt')).read()";
    expect(textOf(await livy.run(id, code))).toBe("(7, 'late')");
    await livy.delete(id);
  });

  test("nothing of an upload that breaks off is left", async () => {
    const before = await livy.expect<{ total: number }>(200, "GET", "/uploads");
    const body = new ReadableStream({
      pull(controller) {
        controller.enqueue(Buffer.from('--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\nsome'));
        controller.error(new Error("gone"));
      },
    });
    const headers = { "content-type": "multipart/form-data; boundary=b" };
    await expect(fetch(`${server.url}/uploads`, { method: "POST", headers, body, duplex: "half" } as RequestInit)).rejects.toThrow();
    const coming = join(server.runtimeDirectory, "uploads", "coming");
    await expect.poll(() => readdirSync(coming), { timeout: 10_000 }).toEqual([]);
    expect(await livy.expect(200, "GET", "/uploads")).toEqual(before);
  });

  test("what a driver does to its file changes nothing in the store", { timeout: 120_000 }, async () => {
    const upload = await send("mine.txt", "as it was");
    const { id } = await livy.ready({ kind: "pyspark", files: [upload.uri] });
    const own = join(server.sessionDirectory(id), "uploads", upload.id, "mine.txt");
    chmodSync(own, 0o600);
    writeFileSync(own, "changed!!");
    const stored = join(server.runtimeDirectory, "uploads", upload.id, "data");
    expect([statSync(stored).mode & 0o777, statSync(stored).ino === statSync(own).ino]).toEqual([0o400, false]);
    await livy.delete(id);
  });
});
