import { expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { Livy } from "../kit/livy.ts";
import { startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

interface Run {
  readonly dueMs: number;
  readonly state: string;
  readonly batch: number | null;
}

test("a schedule of local drivers runs a Spark application when it is due, once, though the server is killed before and meanwhile", {
  timeout: 240_000,
}, async () => {
  await using applications = await Applications.make();
  await using server = await startServer({ flags: ["--local-paths", applications.directory] });
  const livy = new Livy(server.url);
  const file = await applications.python(
    "due.py",
    "from pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\nprint('due', spark.conf.get('spark.longwick.schedule.due'))\nprint('counted', spark.range(7).count())\n",
  );
  await livy.expect(201, "POST", "/schedules", { name: "due", schedule: "* * * * *", concurrencyPolicy: "Forbid", batch: { file } });
  await server.restart();

  const runs = async () => (await livy.expect<{ runs: readonly Run[] }>(200, "GET", "/schedules/due/runs")).runs;
  const begun = await until("a run begins", 90_000, async () => (await runs()).find(({ batch }) => batch !== null));
  await server.restart();
  await livy.expect(200, "PATCH", "/schedules/due", { suspend: true });
  const batch = await livy.batchIn(begun.batch ?? Number.NaN, ["success"]);
  const due = new Date(begun.dueMs).toISOString();
  expect(await livy.batchLog(batch.id)).toEqual(expect.arrayContaining([`due ${due}`, "counted 7"]));
  const ended = await until("the run has ended", 20_000, async () => (await runs()).find(({ state }) => state === "success"));
  expect(ended.batch).toBe(batch.id);
  expect(await livy.expect(200, "GET", "/batches?schedule=due")).toMatchObject({ total: (await runs()).length });
  await livy.expect(200, "DELETE", "/schedules/due");
  await livy.expect(404, "GET", "/schedules/due");
  livy.close();
});
