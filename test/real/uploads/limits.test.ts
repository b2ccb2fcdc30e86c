import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { Livy } from "../../kit/livy.ts";
import { startServer } from "../../kit/server.ts";
import { until } from "../../kit/until.ts";
import { sendFile } from "../../kit/uploads.ts";

const MIB = 1024 * 1024;
const BLIND = `import http.client, sys
form = b'--b\\r\\nContent-Disposition: form-data; name="f"; filename="x"\\r\\n\\r\\n' + open(sys.argv[2], "rb").read() + b"\\r\\n--b--\\r\\n"
connection = http.client.HTTPConnection(sys.argv[1], timeout=60)
connection.request("POST", "/uploads", form, {"content-type": "multipart/form-data; boundary=b"})
answer = connection.getresponse()
print(answer.status, answer.read().decode())`;

test("a client that sends too much is told so and not cut off, whatever it has sent by then", async () => {
  await using server = await startServer({ flags: ["--upload-limit-bytes", "1MiB", "--upload-quota-bytes", "1536KiB"] });
  const directory = mkdtempSync(join(tmpdir(), "lw-large-"));
  const [large, half] = [join(directory, "large.bin"), join(directory, "half.bin")];
  writeFileSync(large, Buffer.alloc(64 * MIB));
  writeFileSync(half, Buffer.alloc(MIB));
  const python = async (file: string): Promise<string> => {
    const { stdout } = await promisify(execFile)("python3", ["-c", BLIND, server.url.replace("http://", ""), file]);
    return stdout;
  };
  const curl = async (file: string, ...args: readonly string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)("curl", [
      "-s",
      "-w",
      " %{http_code}",
      "-F",
      `file=@${file}`,
      ...args,
      `${server.url}/uploads`,
    ]);
    return stdout;
  };
  // With and without a length, with and without a question before.
  for (const args of [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"], ["-H", "Expect:", "-H", "Transfer-Encoding: chunked"]])
    for (let again = 0; again < 3; again += 1)
      expect(await curl(large, ...args)).toBe('{"msg":"The file is larger than 1048576 bytes, the limit here."} 413');
  // Reads nothing before it has sent all.
  expect(await python(large)).toMatch(/^413 .*limit here/);
  expect(await curl(half)).toMatch(/ 201$/);
  expect(await curl(half, "-H", "Expect:")).toMatch(/limit per user; those there are take 1048576.* 413$/);
  rmSync(directory, { recursive: true });
});

test("a full disk is told, nothing is left of what did not fit, and what fits is taken", async () => {
  await using server = await startServer({ diskBytes: 8 * MIB });
  const url = `${server.url}/uploads`;
  expect(await sendFile(url, "large.bin", Buffer.alloc(20 * MIB))).toMatchObject({
    status: 507,
    body: { msg: "The upload cannot be kept, the store has no room for it: its disk is full. Ask the operator." },
  });
  expect((await sendFile(url, "small.bin", Buffer.alloc(6 * MIB))).status).toBe(201);
  expect((await sendFile(url, "other.bin", Buffer.alloc(4 * MIB))).status).toBe(507);
});

test("a server killed while a file comes keeps nothing of it that anybody sees, and an hour later nothing at all", async () => {
  await using server = await startServer();
  const livy = new Livy(server.url);
  const coming = join(server.runtimeDirectory, "uploads", "coming");
  const socket = connect(server.port, "127.0.0.1").on("error", () => undefined);
  socket.write(
    "POST /uploads HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000000\r\ncontent-type: multipart/form-data; boundary=b\r\n\r\n" +
      '--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n',
  );
  socket.write(Buffer.alloc(MIB));
  const [name] = await until("a part of it is there", 20_000, () => {
    const names = existsSync(coming) ? readdirSync(coming) : [];
    return names.length > 0 ? names : undefined;
  });
  await server.kill();
  await server.start();
  expect(await livy.expect(200, "GET", "/uploads")).toEqual({ total: 0, uploads: [] });
  const anHourAgo = Date.now() / 1_000 - 3_601;
  utimesSync(join(coming, String(name)), anHourAgo, anHourAgo);
  await server.restart();
  await expect.poll(() => readdirSync(coming), { timeout: 20_000 }).toEqual([]);
  livy.close();
});
