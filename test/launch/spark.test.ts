import { describe, expect, test } from "vitest";
import { redactSpec } from "../../src/core/redaction.ts";
import type { SessionSpec } from "../../src/core/spec.ts";
import { plain } from "../../src/launch/conf.ts";
import { admittedSpec, driverEnvironment, type SparkSettings, sparkLaunch } from "../../src/launch/spark.ts";
import { NO_LIMITS, specOf } from "./contract.ts";

const SETTINGS: SparkSettings = {
  sparkConf: {},
  defaultMaster: null,
  timeZone: null,
  refusedConf: ["spark.master", "spark.submit.deployMode"],
  environment: {},
};
const conf = (spec: Partial<SessionSpec>, settings: Partial<SparkSettings> = {}) =>
  plain(sparkLaunch(7, specOf(spec), { ...SETTINGS, ...settings }).conf);

describe("a driver's conf", () => {
  test("holds ours when nobody says otherwise", () => {
    expect(conf({})).toEqual({
      "spark.app.name": "longwick-session-7",
      "spark.submit.deployMode": "client",
      "spark.ui.showConsoleProgress": "false",
      "spark.scheduler.minRegisteredResourcesRatio": "0",
      "spark.executor.failuresValidityInterval": "10m",
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

  test("says of each value whose it is: the nearest to the user wins", () => {
    const preset = {
      name: "small",
      limits: NO_LIMITS,
      conf: { "spark.a": "preset", "spark.b": "preset", "spark.driver.memory": "3g", "spark.driver.cores": "3", "spark.master": "yarn" },
    };
    const spec = specOf({ preset, driverMemory: "4g", conf: { "spark.a": "user", "spark.driver.memory": "5g" } });
    const sparkConf = { "spark.a": "op", "spark.b": "op", "spark.c": "op", "spark.submit.deployMode": "cluster" };
    const made = sparkLaunch(7, spec, { ...SETTINGS, sparkConf, defaultMaster: "local[*]", timeZone: "UTC" }).conf;
    expect(made).toEqual({
      "spark.a": { value: "user", source: "user" },
      "spark.app.name": { value: "longwick-session-7", source: "server" },
      "spark.b": { value: "preset", source: "preset small" },
      "spark.c": { value: "op", source: "configuration" },
      "spark.driver.cores": { value: "3", source: "preset small" },
      "spark.driver.memory": { value: "4g", source: "field driverMemory" },
      "spark.master": { value: "yarn", source: "preset small" },
      "spark.scheduler.minRegisteredResourcesRatio": { value: "0", source: "server" },
      "spark.executor.failuresValidityInterval": { value: "10m", source: "server" },
      "spark.sql.session.timeZone": { value: "UTC", source: "configuration" },
      "spark.submit.deployMode": { value: "client", source: "server" },
      "spark.ui.showConsoleProgress": { value: "false", source: "server" },
    });
  });

  test("runs Spark where the server says, if nobody else does", () => {
    const made = sparkLaunch(7, specOf(), { ...SETTINGS, defaultMaster: "local[*]" });
    expect(made.conf["spark.master"]).toEqual({ value: "local[*]", source: "server" });
    expect(made.env).toEqual({ SPARK_LOCAL_IP: "127.0.0.1" });
  });

  test("keeps an application's name from conf, or the operator's", () => {
    expect(conf({ conf: { "spark.app.name": "mine" } })["spark.app.name"]).toBe("mine");
    expect(conf({}, { sparkConf: { "spark.app.name": "ours" } })["spark.app.name"]).toBe("ours");
  });

  test("stays on loopback and off port 4040 in local mode only, and yields to who says otherwise", () => {
    const launch = (sparkConf: Record<string, string>, environment = {}) => {
      const { env, conf } = sparkLaunch(7, specOf(), { ...SETTINGS, sparkConf, environment });
      return { env, conf: plain(conf) };
    };
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
    expect(launch.conf["spark.jars"]).toEqual({ value: "file:/site.jar", source: "configuration" });
    expect(launch.conf).not.toHaveProperty(["spark.files"]);
  });
});

test("a preset may set what no session may", () => {
  const preset = { name: "far", limits: NO_LIMITS, conf: { "spark.master": "spark://far:7077" } };
  expect(admittedSpec(specOf({ preset }), SETTINGS).preset).toEqual(preset);
});

test("a session runs with the configuration that it was made under; one of which that is not known, with the one there is", () => {
  const was = { ...SETTINGS, sparkConf: { "spark.a": "was", "spark.ssl.keyPassword": "hush" }, timeZone: "Asia/Tokyo" };
  const is = { ...SETTINGS, sparkConf: { "spark.a": "is", "spark.b": "is" }, timeZone: "UTC" };
  const admitted = admittedSpec(specOf(), was);
  const launched = plain(sparkLaunch(7, admitted, is).conf);
  expect(launched).toMatchObject({ "spark.a": "was", "spark.ssl.keyPassword": "hush", "spark.sql.session.timeZone": "Asia/Tokyo" });
  expect(launched).not.toHaveProperty(["spark.b"]);
  expect(JSON.stringify(redactSpec(admitted))).not.toContain("hush");
  const place = { "spark.kubernetes.namespace": "secret-team" };
  expect(redactSpec(admittedSpec(specOf(), { ...SETTINGS, sparkConf: place })).configuration).toEqual(place);
  const { configuration: _, ...unknown } = admitted;
  expect(plain(sparkLaunch(7, unknown, is).conf)).toMatchObject({ "spark.a": "is", "spark.sql.session.timeZone": "UTC" });
  // One that goes on for an earlier session is made now.
  expect(admittedSpec(admitted, is).configuration).toEqual({ "spark.sql.session.timeZone": "UTC", "spark.a": "is", "spark.b": "is" });
});

test("keys are admitted in the spelling that Spark reads", () => {
  const conf = { "spark.yarn.driver.memoryOverhead": "1g", constructor: "x" };
  expect(admittedSpec(specOf({ conf }), SETTINGS).conf).toEqual({ "spark.driver.memoryOverhead": "1g", constructor: "x" });
});

test("refused keys are named in Livy's words", () => {
  const spec = specOf({ conf: { "spark.submit.deployMode": "cluster", "spark.ok": "1", "spark.master": "yarn" } });
  expect(() => admittedSpec(spec, SETTINGS)).toThrow(
    expect.objectContaining({
      code: "SPEC_REFUSED",
      message: "Rejected, Reason: Blacklisted configuration values in session config: spark.submit.deployMode, spark.master",
    }),
  );
  expect(() => admittedSpec(spec, { ...SETTINGS, refusedConf: [] })).not.toThrow();
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
