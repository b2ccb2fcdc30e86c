import { describe, expect, test } from "vitest";
import type { Preset } from "../../../src/core/presets.ts";
import { Problem } from "../../../src/core/problems.ts";
import type { CreateSession } from "../../../src/faces/livy/schemas.ts";
import { readSpec, readStatementKind, readTime, type SpecRules } from "../../../src/faces/livy/spec.ts";

const RULES: SpecRules = {
  kinds: ["pyspark", "sql"],
  refusedConf: ["spark.submit.deployMode", "spark.yarn.*"],
  idleTimeoutMs: 3_600_000,
  ttlMs: 0,
  impersonation: true,
};
const read = (body: CreateSession, rules: Partial<SpecRules> = {}, doAs?: string, preset: Preset | null = null) =>
  readSpec({ body, doAs, preset }, { ...RULES, ...rules });
const refusal = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    if (error instanceof Problem) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "accepted";
};

describe("a session asked for", () => {
  test("by nothing at all is shared, with the server's own timeouts", () => {
    const { spec, notes } = read({});
    expect(spec).toMatchObject({ kind: "shared", name: null, conf: {}, jars: [], driverCores: 0, ttl: null, ttlMs: 0 });
    expect(spec).toMatchObject({ idleTimeout: null, idleTimeoutMs: 3_600_000, heartbeatTimeoutMs: 0 });
    expect(notes).toEqual([]);
  });

  test("with every field is kept to the last one", () => {
    const { spec } = read({
      ...{ kind: "pyspark", name: "alpha", conf: { "spark.ui.enabled": false, "spark.cores.max": 2, "spark.note": "é" }, proxyUser: "bob" },
      ...{ ttl: "2h", idleTimeout: "30m", heartbeatTimeoutInSecond: 600, driverMemory: "700m", driverCores: "2", executorMemory: 1024 },
      ...{ executorCores: 1, numExecutors: " 3 ", queue: "q", jars: ["a"], pyFiles: ["b"], files: ["c"], archives: ["d#e"] },
    });
    expect(spec).toEqual({
      ...{
        kind: "pyspark",
        name: "alpha",
        conf: { "spark.ui.enabled": "false", "spark.cores.max": "2", "spark.note": "é" },
        proxyUser: "bob",
      },
      ...{ ttl: "2h", ttlMs: 7_200_000, idleTimeout: "30m", idleTimeoutMs: 1_800_000, heartbeatTimeoutMs: 600_000 },
      ...{ driverMemory: "700m", driverCores: 2, executorMemory: "1024", executorCores: 1, numExecutors: 3, queue: "q" },
      ...{ jars: ["a"], pyFiles: ["b"], files: ["c"], archives: ["d#e"] },
    });
  });

  test("with null for what is not asked for is as without it", () => {
    const { spec } = read({
      kind: null,
      name: null,
      conf: null,
      proxyUser: null,
      jars: null,
      driverMemory: null,
      driverCores: null,
      ttl: null,
      queue: null,
    });
    expect(spec).toEqual(read({}).spec);
  });

  test.each([
    ["python", "pyspark"],
    ["pyspark", "pyspark"],
    ["sql", "sql"],
    ["shared", "shared"],
  ])("of kind %s is shown as %s", (asked, shown) => {
    expect(read({ kind: asked }).spec.kind).toBe(shown);
  });

  test.each(["scala", "spark", "r", "sparkr"])("of kind %s is refused where it cannot run", (kind) => {
    expect(refusal(() => read({ kind }))).toMatch(/^KIND_UNAVAILABLE: Kind sparkr? is not available here, only pyspark, sql\.$/);
  });

  test.each(["cobol", "PySpark", "", "toString", "__proto__"])("of kind '%s' is refused in Livy's words", (kind) => {
    expect(refusal(() => read({ kind }))).toBe(
      `INVALID: Invalid kind: ${kind}. It must be one of shared, pyspark, python, sql, spark, scala, sparkr, r.`,
    );
  });

  test.each(["", "  ", "123", "-1", "+7", "a\0b", "a\nb", "\u{85}", "x".repeat(256), "\ud800"])("named %j is refused", (name) => {
    expect(refusal(() => read({ name }))).toMatch(/^SPEC_REFUSED: Rejected, Reason: Invalid session name: /);
  });

  test.each(["soon", "1 fortnight", "-1s", "", "1e3", "99999999999999d", "١h"])("with ttl %j is refused in Livy's words", (ttl) => {
    expect(refusal(() => read({ ttl }))).toBe(
      `SPEC_REFUSED: Rejected, Reason: Invalid time string: ${ttl}. Write a whole number and its unit: 90s, 30m, 2h.`,
    );
  });

  test.each(["nonsense", "2 g", "0", "0g", "-1g", "1.5g", "2x"])(
    "with driverMemory %j is refused before a driver dies of it",
    (driverMemory) => {
      expect(refusal(() => read({ driverMemory }))).toContain(`SPEC_REFUSED: Rejected, Reason: Invalid driverMemory: ${driverMemory}`);
    },
  );

  test("with very many fields or keys that mean nothing has the first ones named, and the others counted", () => {
    const many = (prefix: string, value: unknown) =>
      Object.fromEntries(Array.from({ length: 100_000 }, (_, n) => [`${prefix}${n}`, value]));
    const { notes } = read({ ...many("f", 1), conf: many("spark.k", null) as Record<string, null> });
    expect(notes).toHaveLength(102);
    expect(notes.slice(49, 52)).toEqual([
      "Unknown field 'f49' of the request is ignored.",
      "The same is true of 99950 more.",
      "Configuration spark.k0 is null and was left out.",
    ]);
  });

  test("with fields nobody knows is accepted, and its log names them", () => {
    const body = { kind: "pyspark", drvierMemory: "2g", "a\nb": 1 };
    expect(read(body).notes).toEqual([
      "Unknown field 'drvierMemory' of the request is ignored.",
      "Unknown field 'a\u{FFFD}b' of the request is ignored.",
    ]);
  });

  test("with wheels that executors would not import has them named", () => {
    const conf = { "spark.submit.pyFiles": "https://ann:pw@host/b-1-py3-none-any.whl, https://host/c.zip" };
    const { notes } = read({
      pyFiles: ["s3a://bucket/a-1-py3-none-any.whl", "local:///opt/d.whl", "file:/e.whl", "upload:/1/f.whl"],
      conf,
    });
    expect(notes).toEqual([
      expect.stringMatching(/^Wheel a-1-py3-none-any\.whl can be imported in the driver alone: /),
      expect.stringMatching(/^Wheel b-1-py3-none-any\.whl can be imported in the driver alone: /),
    ]);
  });

  test("with refused configuration names every such key", () => {
    const conf = { "spark.submit.deployMode": "cluster", "spark.yarn.jars": "x", "spark.yarnish": "fine" };
    expect(refusal(() => read({ conf }))).toBe(
      "SPEC_REFUSED: Rejected, Reason: Blacklisted configuration values in session config: spark.submit.deployMode, spark.yarn.jars",
    );
  });

  test.each([" spark.submit.deployMode", "spark.submit.deployMode ", "spark.submit.deployMode\t", "", "a=b", "é"])(
    "with the configuration key %j is refused: no key may pass in disguise",
    (key) => {
      expect(refusal(() => read({ conf: { [key]: "x" } }))).toMatch(/^SPEC_REFUSED: Rejected, Reason: Invalid configuration key/);
    },
  );

  test("with a null or NUL in a configuration value says so", () => {
    expect(read({ conf: { "spark.a": null } })).toMatchObject({
      spec: { conf: {} },
      notes: ["Configuration spark.a is null and was left out."],
    });
    expect(refusal(() => read({ conf: { "spark.a": "x\0" } }))).toContain("The value of spark.a holds a NUL character.");
  });

  test("with a configuration key that is a trap for objects keeps it as a key", () => {
    const conf = JSON.parse('{"__proto__": "x", "constructor": "y"}') as Record<string, string>;
    expect(Object.entries(read({ conf }).spec.conf)).toEqual([
      ["__proto__", "x"],
      ["constructor", "y"],
    ]);
  });

  test("as another user: the query goes before the body; switched off it is ignored aloud", () => {
    expect(read({ proxyUser: "bob" }, {}, "carol").spec.proxyUser).toBe("carol");
    expect(read({ proxyUser: "bob" }, { impersonation: false })).toMatchObject({
      spec: { proxyUser: null },
      notes: ["proxyUser 'bob' is ignored: impersonation is not switched on."],
    });
    expect(read({ proxyUser: "" }).spec.proxyUser).toBeNull();
  });
});

test.each([
  ["2h", 7_200_000],
  ["30m", 1_800_000],
  ["5min", 300_000],
  ["45S", 45_000],
  ["250ms", 250],
  ["1500us", 1],
  ["1d", 86_400_000],
  ["1000", 1_000],
  [0, 0],
])("the time %j is %i ms", (time, ms) => {
  expect(readTime(time)).toBe(ms);
});

describe("a statement's kind", () => {
  test("is the session's unless it says one", () => {
    expect(readStatementKind(undefined, "sql", ["pyspark", "sql"])).toBe("sql");
    expect(readStatementKind(null, "pyspark", ["pyspark", "sql"])).toBe("pyspark");
    expect(readStatementKind("python", "sql", ["pyspark", "sql"])).toBe("pyspark");
  });

  test("must be said in a shared session, and must be able to run", () => {
    expect(refusal(() => readStatementKind(undefined, "shared", ["pyspark", "sql"]))).toBe(
      "INVALID: The session is shared: say the statement's kind, one of pyspark, sql.",
    );
    expect(refusal(() => readStatementKind("shared", "pyspark", ["pyspark"]))).toContain("INVALID");
    expect(refusal(() => readStatementKind("scala", "pyspark", ["pyspark"]))).toContain("KIND_UNAVAILABLE");
  });
});
