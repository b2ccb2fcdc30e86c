import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { installKernel } from "../../kit/kernelspec.ts";
import { clientsPython } from "../../kit/python.ts";
import { startServer } from "../../kit/server.ts";

const HERE = fileURLToPath(new URL(".", import.meta.url));

test("a native kernel with a wrong token lives, and its cells say who refuses it and what to do", { timeout: 120_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), "lw-"));
  const [tokens, wrong] = [join(directory, "tokens"), join(directory, "wrong")];
  writeFileSync(tokens, `${createHash("sha256").update("right").digest("hex")} ann\n`);
  writeFileSync(wrong, "wrong\n");
  try {
    await using server = await startServer({ flags: ["--tokens", tokens], headers: { authorization: "Bearer right" } });
    const url = new URL(server.url);
    const settings = { LONGWICK_URL: url.href, LONGWICK_TOKEN_FILE: wrong, LONGWICK_RUNTIME_DIR: join(directory, "kernels") };
    const env = { ...installKernel(directory, "refused", settings), PYTHONPATH: HERE };
    const script = `import kernel_cases as k, json
m = k.started(); c = k.connected(m)
replies = [k.run(c, code, 30)[0] for code in ("1", "2")]
print(json.dumps([[reply["status"], reply["ename"], reply["evalue"]] for reply in replies]))
c.stop_channels(); m.shutdown_kernel()`;
    const { stdout } = await promisify(execFile)(await clientsPython(), ["-c", script], { env, timeout: 90_000 });
    const refused = ["error", "KernelRefused", expect.stringMatching(new RegExp(`${url.host} refuses this kernel: .*LONGWICK_TOKEN_FILE`))];
    expect(JSON.parse(stdout)).toEqual([refused, refused]);
  } finally {
    rmSync(directory, { recursive: true, maxRetries: 5 });
  }
});
