import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { clientsPython } from "../../kit/python.ts";
import { startServer } from "../../kit/server.ts";

const SCRIPT = fileURLToPath(new URL("./drive_notebook_server.py", import.meta.url));
const TOKEN = "gateway-token";

test("a real Jupyter Server runs its notebooks here, with a token", { timeout: 240_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), "lw-tokens-"));
  const tokens = join(directory, "tokens");
  writeFileSync(tokens, `${createHash("sha256").update(TOKEN).digest("hex")} ann\n`);
  try {
    const flags = ["--tokens", tokens, "--local-paths", realpathSync(tmpdir())];
    await using server = await startServer({ flags, headers: { authorization: `Bearer ${TOKEN}` } });
    const env = { ...process.env, GATEWAY: server.url, JUPYTER_GATEWAY_AUTH_TOKEN: TOKEN };
    const { stdout } = await promisify(execFile)(await clientsPython(), [SCRIPT], { timeout: 200_000, env, maxBuffer: 64 * 1024 * 1024 });
    const told = JSON.parse(stdout);
    expect(told).toMatchObject({
      specs: { kernelspecs: { spark: { spec: { display_name: "Spark (PySpark)" } } } },
      logo: [200, "image/svg+xml"],
      first: { reply: { status: "ok", execution_count: 1 }, data: { "text/plain": "2" } },
      memory: { data: { "text/plain": "'700m'" } },
      input: { data: { "text/plain": "'typed'" } },
      lines: 100_000,
      // The picture's bytes cannot pass this proxy; everything else does, and the connection lives.
      widget: { reply: { status: "ok" }, types: expect.arrayContaining(["comm_open", "execute_result"]) },
      after: { data: { "text/plain": "'still here'" } },
      interrupted: { reply: { status: "error", ename: "KeyboardInterrupt" } },
      restarted: { name: "spark" },
      fresh: { data: { "text/plain": "False" } },
      unforced: { reply: { status: "error", ename: "ConfigureError", evalue: expect.stringContaining("please include the -f") } },
      configured: { reply: { status: "ok" } },
      marked: { reply: { status: "ok" }, data: { "text/plain": "('1', '700m', 3)" } },
      "configured first": { reply: { status: "ok" } },
      "first memory": { data: { "text/plain": "'800m'" } },
      // Where the notebook is.
      directory: { data: { "text/plain": `'${told.root}'` } },
      listed: [true],
      deleted: [204, null],
      log: [],
    });
    expect(await (await fetch(`${server.url}/api/kernels`, { headers: { authorization: `token ${TOKEN}` } })).json()).toEqual([]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
