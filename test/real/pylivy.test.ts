import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { drivePylivyBatches, PYLIVY_IS_TOLD } from "../kit/batch-clients.ts";
import { clientsPython } from "../kit/python.ts";
import { startServer } from "../kit/server.ts";

const SCRIPT = fileURLToPath(new URL("./notebooks/drive_pylivy.py", import.meta.url));

test("pylivy creates, runs, uploads, downloads, lists and closes", { timeout: 180_000 }, async () => {
  await using server = await startServer();
  const { stdout } = await promisify(execFile)(await clientsPython(), [SCRIPT, server.url], { timeout: 150_000 });
  const id: unknown = expect.any(Number);
  expect(JSON.parse(stdout)).toEqual({
    legacy: false,
    text: "héllo\n42",
    listed: [[id, "pyspark", "idle"]],
    uploaded: [
      { name: "Zoë", age: 3 },
      { name: "Åke", age: 4 },
    ],
    wide: [5000, 12_497_500, [200]],
    error: [
      "ZeroDivisionError",
      "division by zero",
      expect.stringMatching(/^Traceback \(most recent call last\):\n[\s\S]*ZeroDivisionError: division by zero\n$/),
    ],
    statements: [
      [0, "available"],
      [1, "available"],
      [2, "available"],
    ],
    "after close": null,
    sql: [
      { id: 0, text: "0" },
      { id: 1, text: "1" },
      { id: 2, text: "2" },
    ],
    "no rows": ["a"],
    "statement to a closed session": [404, { msg: expect.stringMatching(/^Session '\d+' not found\.$/) }],
  });
});

test("pylivy runs, reads, lists and kills batches", { timeout: 240_000 }, async () => {
  await using applications = await Applications.make();
  const at = await applications.forClients();
  await using server = await startServer({ flags: ["--local-paths", applications.directory] });
  expect(await drivePylivyBatches(server.url, at)).toEqual(PYLIVY_IS_TOLD);
});
