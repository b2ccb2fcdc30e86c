import { describe, expect, test } from "vitest";
import type { SessionSpec } from "../../src/core/spec.ts";
import { checkSpec, driverEnvironment, type SparkSettings, sparkLaunch } from "../../src/launch/spark.ts";
import { specOf } from "./contract.ts";

const SETTINGS: SparkSettings = {
  sparkConf: {},
  timeZone: null,
  refusedConf: ["spark.master", "spark.submit.deployMode"],
  environment: {},
};
const conf = (spec: Partial<SessionSpec>, settings: Partial<SparkSettings> = {}) =>
  sparkLaunch(7, specOf(spec), { ...SETTINGS, ...settings }).conf;

describe("a driver's conf", () => {
  test("holds ours when nobody says otherwise", () => {
    expect(conf({})).toEqual({
      "spark.app.name": "longwick-session-7",
      "spark.submit.deployMode": "client",
      "spark.ui.showConsoleProgress": "false",
      "spark.scheduler.minRegisteredResourcesRatio": "0",
    });
  });

  test("has Livy's fields under Spark's names", () => {
    const asked = {
      name: "alpha",
      driverMemory: "2g",
      driverCores: 2,
      executorMemory: "3g",
      executorCores: 4,
      numExecutors: 5,
      queue: "night",
    };
    expect(conf(asked)).toMatchObject({
      "spark.app.name": "alpha",
      "spark.driver.memory": "2g",
      "spark.driver.cores": "2",
      "spark.executor.memory": "3g",
      "spark.executor.cores": "4",
      "spark.executor.instances": "5",
      "spark.yarn.queue": "night",
    });
  });

  test("takes fields before conf, conf before the operator's, that before ours", () => {
    const settings = {
      sparkConf: { "spark.ui.showConsoleProgress": "true", "spark.a": "operator", "spark.driver.memory": "1g", "spark.b": "kept" },
      timeZone: "UTC",
    };
    const made = conf(
      { driverMemory: "4g", conf: { "spark.a": "session", "spark.driver.memory": "2g", "spark.sql.session.timeZone": "Asia/Tokyo" } },
      settings,
    );
    expect(made).toMatchObject({
      "spark.ui.showConsoleProgress": "true",
      "spark.a": "session",
      "spark.b": "kept",
      "spark.driver.memory": "4g",
      "spark.sql.session.timeZone": "Asia/Tokyo",
    });
  });

  test("keeps an application's name from conf, or the operator's", () => {
    expect(conf({ conf: { "spark.app.name": "mine" } })["spark.app.name"]).toBe("mine");
    expect(conf({}, { sparkConf: { "spark.app.name": "ours" } })["spark.app.name"]).toBe("ours");
  });

  test("stays on loopback and off port 4040 in local mode only, and yields to who says otherwise", () => {
    const launch = (sparkConf: Record<string, string>, environment = {}) =>
      sparkLaunch(7, specOf(), { ...SETTINGS, sparkConf, environment });
    expect(launch({ "spark.master": "local[2]" })).toMatchObject({ env: { SPARK_LOCAL_IP: "127.0.0.1" }, conf: { "spark.ui.port": "0" } });
    expect(launch({ "spark.master": "local[2]", "spark.ui.port": "4050" }).conf["spark.ui.port"]).toBe("4050");
    expect(launch({ "spark.master": "local" }, { SPARK_LOCAL_IP: "10.0.0.1" }).env).toEqual({});
    const far = launch({ "spark.master": "spark://far:7077" });
    expect(far.env).toEqual({});
    expect(far.conf).not.toHaveProperty(["spark.ui.port"]);
  });

  test("gathers each list from its field and from conf, once each, and leaves the operator's in conf", () => {
    const launch = sparkLaunch(
      7,
      specOf({
        jars: ["file:/a.jar", "file:/b.jar"],
        pyFiles: ["file:/a.py"],
        conf: {
          "spark.jars": "file:/b.jar, file:/c.jar",
          "spark.submit.pyFiles": "file:/b.zip",
          "spark.files": "file:/f",
          "spark.archives": "file:/e.zip#e",
        },
      }),
      { ...SETTINGS, sparkConf: { "spark.jars": "file:/site.jar" } },
    );
    expect(launch).toMatchObject({
      jars: ["file:/a.jar", "file:/b.jar", "file:/c.jar"],
      pyFiles: ["file:/a.py", "file:/b.zip"],
      files: ["file:/f"],
      archives: ["file:/e.zip#e"],
    });
    expect(launch.conf["spark.jars"]).toBe("file:/site.jar");
    expect(launch.conf).not.toHaveProperty(["spark.files"]);
  });
});

test("refused keys are named in Livy's words", () => {
  const spec = specOf({ conf: { "spark.submit.deployMode": "cluster", "spark.ok": "1", "spark.master": "yarn" } });
  expect(() => checkSpec(spec, SETTINGS)).toThrow(
    expect.objectContaining({
      code: "SPEC_REFUSED",
      message: "Rejected, Reason: Blacklisted configuration values in session config: spark.submit.deployMode, spark.master",
    }),
  );
  expect(() => checkSpec(spec, { ...SETTINGS, refusedConf: [] })).not.toThrow();
});

describe("a driver's environment", () => {
  test("is the server's without the server's own settings, marked with the session", () => {
    const made = driverEnvironment(
      { HOME: "/home/x", LONGWICK_TOKEN: "t", LONGWICK_SESSION: "outer", PYTHONPATH: "/lib", NOT: undefined },
      "uid-1",
      "/shim",
    );
    expect(made).toEqual({
      HOME: "/home/x",
      LC_ALL: "C.UTF-8",
      LONGWICK_SESSION: "uid-1",
      PYTHONPATH: "/shim:/lib",
      PYTHONUNBUFFERED: "1",
      PYTHONUTF8: "1",
    });
  });

  test.each([
    [{ LANG: "de_DE.UTF-8" }, undefined],
    [{ LC_CTYPE: "en_US.utf8", LANG: "C" }, undefined],
    [{ LANG: "C" }, "C.UTF-8"],
    [{ LC_ALL: "POSIX", LANG: "en_US.UTF-8" }, "C.UTF-8"],
    [{}, "C.UTF-8"],
  ])("speaks UTF-8: %o", (inherited, expected) => {
    expect(driverEnvironment(inherited, "u", "/shim")["LC_ALL"]).toBe(expected);
  });
});
