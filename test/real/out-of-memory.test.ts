import { expect, test } from "vitest";
import { Livy, textOf } from "../kit/livy.ts";
import { MemoryLimit } from "../kit/memory-limit.ts";
import { startServer } from "../kit/server.ts";

const MIB = 1024 * 1024;

test("code that takes more memory than there is ends its interpreter, is told so, and leaves a driver that answers", {
  timeout: 240_000,
}, async () => {
  // Larger than a JVM that has hardly worked: the kernel kills whatever is largest.
  await using limit = new MemoryLimit(1_000 * MIB);
  await using server = await startServer();
  const livy = new Livy(server.url);
  const { id } = await livy.ready();
  await livy.run(id, "spark.range(7).createOrReplaceTempView('kept')");
  const before = server.driverProcesses(id);
  limit.hold(before.map(({ pid }) => pid));

  const greedy = await livy.run(id, "print('before the end')\nhoard = []\nwhile True: hoard.append(b'x' * (16 << 20))");
  expect(greedy.output).toMatchObject({ status: "error", ename: "InterpreterLost", data: { "text/plain": "before the end" } });
  expect(textOf(greedy)).toMatch(/killed by SIGKILL \(out of memory/);
  expect(limit.kills).toBe(1);

  const next = await livy.run(id, "print('hoard' in globals(), spark.table('kept').count())");
  expect([next.id, textOf(next)]).toEqual([greedy.id + 1, "False 7"]);
  const jvm = (processes: typeof before) => processes.find(({ command }) => command.includes("SparkSubmit"))?.pid;
  expect(jvm(server.driverProcesses(id))).toBe(jvm(before));
});
