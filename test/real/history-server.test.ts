import { expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { HistoryServer } from "../kit/history-server.ts";
import { Livy } from "../kit/livy.ts";
import { startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

const COUNTS = `from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.sparkContext.setJobDescription("counted for history")
print(spark.range(7).count())
spark.stop()
`;

test("a batch that has ended is found at Spark's history server, by the link that it has from then on", { timeout: 300_000 }, async () => {
  await using history = await HistoryServer.start();
  await using applications = await Applications.make();
  const file = await applications.python("counts.py", COUNTS);
  const conf = JSON.stringify({ "spark.eventLog.enabled": "true", "spark.eventLog.dir": `file://${history.directory}` });
  const flags = ["--local-paths", applications.directory, "--history-server", history.url, "--spark-conf", conf];
  await using server = await startServer({ flags });
  const livy = new Livy(server.url);
  // Without a UI only the log of its start says which application it is.
  const made = await livy.createBatch({ file, name: "for-history", conf: { "spark.ui.enabled": "false" } });
  expect(made.longwick).toMatchObject({ historyUrl: null });
  const { appId, longwick } = await livy.batchIn(made.id, ["success"]);
  expect(longwick).toMatchObject({ historyUrl: `${history.url}/history/${appId}/` });
  const { historyUrl } = longwick as unknown as { historyUrl: string };
  const page = await until("the history server has read its events", 60_000, async () => {
    const answer = await fetch(historyUrl);
    const text = await answer.text();
    return answer.ok && text.includes("counted for history") ? { text, at: answer.url } : undefined;
  });
  expect(page.at).toBe(`${history.url}/history/${appId}/jobs/`);
  expect(page.text).toContain("for-history");
  livy.close();
});
