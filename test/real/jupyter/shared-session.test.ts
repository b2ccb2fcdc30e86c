import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { installKernel } from "../../kit/kernelspec.ts";
import { Livy, textOf } from "../../kit/livy.ts";
import { clientsPython } from "../../kit/python.ts";
import { startServer } from "../../kit/server.ts";

const HERE = fileURLToPath(new URL(".", import.meta.url));

test("a native kernel attaches to a session by its name: one Python, two views, and the session stays", { timeout: 240_000 }, async () => {
  await using server = await startServer();
  const livy = new Livy(server.url);
  try {
    const { id } = await livy.ready({ kind: "pyspark", name: "shared" });
    await livy.run(id, "given = 41");
    const settings = { LONGWICK_URL: server.url, LONGWICK_RUNTIME_DIR: join(server.directory, "kernels") };
    const env = { ...installKernel(server.directory, "attached", settings), KERNEL_SESSION: "shared", PYTHONPATH: HERE };
    const script = `import kernel_cases as k, json, urllib.request
m = k.started(); c = k.connected(m)
reply, cell = k.run(c, "found = given + 1; print(found)", 60)
with urllib.request.urlopen("${server.url}/sessions/${id}") as answer: clients = json.load(answer)["longwick"]["clients"]
history = c.history(reply=True, timeout=20, hist_access_type="tail", n=3, raw=True, output=False)["content"]["history"]
print(json.dumps([reply["status"], cell.text(), len(clients), [code for _, _, code in history]]))
c.stop_channels(); m.shutdown_kernel()`;
    const { stdout } = await promisify(execFile)(await clientsPython(), ["-c", script], { env, timeout: 150_000 });
    expect(JSON.parse(stdout)).toEqual(["ok", "42\n", 1, ["given = 41", "found = given + 1; print(found)"]]);
    expect(textOf(await livy.run(id, "found"))).toBe("42");
    expect(await livy.session(id)).toMatchObject({ state: "idle" });
  } finally {
    livy.close();
  }
});
