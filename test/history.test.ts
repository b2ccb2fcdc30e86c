import { expect, test } from "vitest";
import { NO_SPEC } from "../src/core/spec.ts";
import { historyUrl } from "../src/history.ts";

const end = { state: "success", reason: "", logTail: [], endedMs: 1, appId: "app/1" } as const;
const config = { historyServer: "https://history.example.org/spark/", sparkConf: { "spark.eventLog.enabled": "true" } };

test("an ended application that wrote events is shown by the history server", () => {
  expect(historyUrl(config, { appId: "app/1", end, spec: NO_SPEC })).toBe("https://history.example.org/spark/history/app%2F1/");
  expect(historyUrl(config, { appId: "app/1", end: null, spec: NO_SPEC })).toBeNull();
  expect(historyUrl(config, { appId: null, end, spec: NO_SPEC })).toBeNull();
  expect(historyUrl({ ...config, historyServer: null }, { appId: "app/1", end, spec: NO_SPEC })).toBeNull();
  const asPythonWritesIt = { ...NO_SPEC, conf: { "spark.eventLog.enabled": "True" } };
  expect(historyUrl({ ...config, sparkConf: {} }, { appId: "a", end, spec: asPythonWritesIt })).toMatch(/\/history\/a\/$/);
  const without = { ...NO_SPEC, conf: { "spark.eventLog.enabled": "false" } };
  expect(historyUrl(config, { appId: "app/1", end, spec: without })).toBeNull();
});
