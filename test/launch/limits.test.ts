import { describe, expect, test } from "vitest";
import type { PresetLimits, SessionSpec } from "../../src/core/spec.ts";
import { admittedSpec, type SparkSettings } from "../../src/launch/spark.ts";
import { NO_LIMITS, specOf } from "./contract.ts";

const SETTINGS: SparkSettings = { sparkConf: {}, defaultMaster: null, timeZone: null, refusedConf: [], environment: {} };

/** What a session of a preset with these limits is answered. */
const answer = (
  limits: Partial<PresetLimits>,
  asked: Partial<SessionSpec>,
  { preset = {}, configuration = {} }: { preset?: Record<string, string>; configuration?: Record<string, string> } = {},
): string => {
  const spec = specOf({ ...asked, preset: { name: "small", conf: preset, limits: { ...NO_LIMITS, ...limits } } });
  try {
    admittedSpec(spec, { ...SETTINGS, sparkConf: configuration });
    return "admitted";
  } catch (error) {
    return error instanceof Error ? error.message.replace("Rejected, Reason: ", "") : String(error);
  }
};
const conf = (key: string, value: string): Partial<SessionSpec> => ({ conf: { [key]: value } });

describe("a limit on memory", () => {
  test.each([
    ["8g", { driverMemory: "64g" }, "driverMemory 64g is over preset 'small' limit of 8g"],
    ["8g", { driverMemory: "8193m" }, "driverMemory 8193m is over preset 'small' limit of 8g"],
    ["8g", { driverMemory: "8192m" }, "admitted"],
    ["8g", { driverMemory: "8192" }, "admitted"],
    ["8g", { driverMemory: "8388608k" }, "admitted"],
    ["8g", { driverMemory: "8589934593b" }, "driverMemory 8589934593b is over preset 'small' limit of 8g"],
    ["8192m", { driverMemory: "8GB" }, "admitted"],
    ["8g", { driverMemory: "1t" }, "driverMemory 1t is over preset 'small' limit of 8g"],
    ["512m", {}, "driverMemory with its overhead, 1434m, is over preset 'small' limit of 512m (896m with overhead)"],
    ["8g", conf("spark.driver.memory", "9g"), "spark.driver.memory 9g is over preset 'small' limit of 8g"],
    ["8g", conf("spark.driver.memory", "lots"), "spark.driver.memory must be a size like 2g or 512m, not 'lots'"],
    // The field goes before the conf.
    ["8g", { driverMemory: "2g", ...conf("spark.driver.memory", "9g") }, "admitted"],
  ])("%s for %j: %s", (driverMemory, asked, expected) => {
    expect(answer({ driverMemory }, asked)).toBe(expected);
  });

  test.each([
    ["4g", "5g", "admitted"],
    ["8g", "3277m", "admitted"],
    ["8g", "4g", "driverMemory with its overhead, 12288m, is over preset 'small' limit of 8g (11469m with overhead)"],
    ["1g", "500g", "driverMemory with its overhead, 513024m, is over preset 'small' limit of 8g (11469m with overhead)"],
  ])("counts overhead: heap %s and %s beside it are %s", (driverMemory, overhead, expected) => {
    for (const key of ["spark.driver.memoryOverhead", "spark.yarn.driver.memoryOverhead"])
      expect(answer({ driverMemory: "8g" }, { driverMemory, ...conf(key, overhead) })).toBe(expected);
  });

  test.each([
    ["spark.driver.memoryOverheadFactor", "10"],
    ["spark.kubernetes.memoryOverheadFactor", "10"],
    ["spark.driver.minMemoryOverhead", "100g"],
  ])("counts %s=%s", (key, value) => {
    expect(answer({ driverMemory: "8g" }, { driverMemory: "4g", ...conf(key, value) })).toMatch(
      /^driverMemory with its overhead, \d+m, is/,
    );
  });

  test.each([
    { "spark.executor.memoryOverhead": "20g" },
    { "spark.executor.memoryOverheadFactor": "5" },
    { "spark.executor.pyspark.memory": "20g" },
    { "spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": "20g" },
    { "spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": "21474836480" },
    { "spark.memory.offHeap.enabled": "TRUE ", "spark.memory.offHeap.size": "20g" },
  ])("of an executor counts all that is beside the heap: %j", (asked) => {
    expect(answer({ executorMemory: "8g" }, { executorMemory: "4g", conf: asked })).toMatch(/^executorMemory with its overhead, \d+m, is/);
    expect(answer({ executorMemory: "8g" }, { executorMemory: "4g" }, { preset: asked })).toBe("admitted");
    expect(answer({ driverMemory: "8g" }, { executorMemory: "4g", conf: asked })).toBe("admitted");
  });

  test("leaves off-heap memory that is switched off, and none", () => {
    const asked = { "spark.memory.offHeap.enabled": "False", "spark.memory.offHeap.size": "99g", "spark.executor.memoryOverhead": "0" };
    expect(answer({ executorMemory: "8g" }, { conf: asked })).toBe("admitted");
  });
});

describe("a limit on a count", () => {
  test.each([
    [{ driverCores: 2 }, { driverCores: 4 }, "driverCores 4 is over preset 'small' limit of 2"],
    [{ driverCores: 2 }, { driverCores: 2 }, "admitted"],
    [{ driverCores: 2 }, conf("spark.driver.cores", "3"), "spark.driver.cores 3 is over preset 'small' limit of 2"],
    [
      { driverCores: 2 },
      conf("spark.kubernetes.driver.request.cores", "2500m"),
      "spark.kubernetes.driver.request.cores 2500m is over preset 'small' limit of 2",
    ],
    [{ driverCores: 2 }, conf("spark.kubernetes.driver.limit.cores", "2.0"), "admitted"],
    [{ executorCores: 4 }, { executorCores: 5 }, "executorCores 5 is over preset 'small' limit of 4"],
    [
      { executorCores: 4 },
      conf("spark.kubernetes.executor.limit.cores", "5"),
      "spark.kubernetes.executor.limit.cores 5 is over preset 'small' limit of 4",
    ],
    [
      { executorCores: 4 },
      conf("spark.executor.cores", "x"),
      "spark.executor.cores must be a number of cores like 2, 0.5 or 500m, not 'x'",
    ],
    [{ numExecutors: 3 }, { numExecutors: 4 }, "numExecutors 4 is over preset 'small' limit of 3"],
    [
      { numExecutors: 3 },
      conf("spark.dynamicAllocation.maxExecutors", "4"),
      "spark.dynamicAllocation.maxExecutors 4 is over preset 'small' limit of 3",
    ],
    [
      { numExecutors: 3 },
      conf("spark.dynamicAllocation.initialExecutors", "4"),
      "spark.dynamicAllocation.initialExecutors 4 is over preset 'small' limit of 3",
    ],
    [{ numExecutors: 3 }, { numExecutors: 3, driverCores: 99 }, "admitted"],
  ])("%j for %j: %s", (limits, asked, expected) => {
    expect(answer(limits, asked)).toBe(expected);
  });
});

test("a preset that is over its own limits, or is pushed over them by the configuration beneath it, is told so", () => {
  expect(answer({ driverMemory: "8g" }, {}, { preset: { "spark.driver.memory": "9g" } })).toContain("spark.driver.memory 9g is over");
  expect(answer({ driverMemory: "8g" }, {}, { configuration: { "spark.driver.memory": "9g" } })).toContain(
    "spark.driver.memory 9g is over",
  );
  const both = { preset: { "spark.driver.memory": "2g" }, configuration: { "spark.driver.memory": "9g" } };
  expect(answer({ driverMemory: "8g" }, {}, both)).toBe("admitted");
});
