import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pino from "pino";
import { test } from "vitest";
import { loadConfig } from "../../src/config.ts";
import { prepare } from "../../src/prepare.ts";
import { openServer } from "../../src/server.ts";
import { Livy, textOf } from "../kit/livy.ts";
import { driverPython } from "../kit/python.ts";

/** The shim as it was when protocol version 1 was all there was. */
const SHIM_OF_VERSION_1 = fileURLToPath(new URL("../fixtures/shim/protocol-1.zip", import.meta.url));
const silent = pino({ level: "silent" });

const upload = async (url: string, session: number, name: string, content: string): Promise<{ status: number; msg: string }> => {
  const form = new FormData();
  form.append("file", new Blob([content]), name);
  const answer = await fetch(`${url}/sessions/${session}/upload-file`, { method: "POST", body: form });
  // Livy's shape of an answer.
  return { status: answer.status, msg: ((await answer.json()) as { msg: string }).msg };
};

test("a driver that the previous release started is served by this one; what it cannot do is refused with the reason", async ({
  expect,
}) => {
  const directory = mkdtempSync(join(tmpdir(), "lw-"));
  const { config } = loadConfig(["--port=0", `--runtime-dir=${join(directory, "run")}`, `--python=${await driverPython()}`], {});
  const now = await prepare(config, () => undefined, AbortSignal.timeout(60_000));
  try {
    const before = await openServer(config, { ...now, shimDir: SHIM_OF_VERSION_1 }, "0.0.1", silent);
    const past = new Livy(before.url);
    const { id: old } = await past.create();
    const first = await past.run(old, "x = 41; print('before')");
    expect(textOf(first)).toBe("before");
    past.close();
    await before.close();

    const after = await openServer(config, now, "0.0.2", silent);
    const livy = new Livy(after.url);
    try {
      expect(await livy.statement(old, 0)).toEqual(first);
      const second = await livy.run(old, "x + 1");
      expect([second.id, textOf(second)]).toEqual([1, "42"]);
      expect(await upload(after.url, old, "a.txt", "hello")).toMatchObject({ status: 501, msg: expect.stringContaining("older release") });
      await livy.delete(old);

      const { id: fresh } = await livy.ready();
      expect(await upload(after.url, fresh, "a.txt", "hello")).toEqual({ status: 200, msg: "uploaded" });
      expect(textOf(await livy.run(fresh, "from pyspark import SparkFiles\nopen(SparkFiles.get('a.txt')).read()"))).toBe("'hello'");
    } finally {
      livy.close();
      await after.end();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
});
