import { describe, expect, test } from "vitest";
import { Problem } from "../../../src/core/problems.ts";
import { readBatchSpec } from "../../../src/faces/livy/batch-spec.ts";
import type { CreateBatch } from "../../../src/faces/livy/schemas.ts";
import type { SpecRules } from "../../../src/faces/livy/spec.ts";
import { presetOf } from "../../launch/contract.ts";

const RULES: SpecRules = {
  kinds: ["pyspark", "sql"],
  refusedConf: ["spark.master"],
  idleTimeoutMs: 3_600_000,
  ttlMs: 60_000,
  impersonation: true,
};
const ALL = ["submission-refused", "driver-lost", "non-zero-exit"];
const read = (body: CreateBatch, preset = presetOf({ name: "p", kind: "sql", idleTimeoutMs: 5, ttlMs: 5 })) =>
  readBatchSpec({ body, doAs: undefined, preset }, RULES);
const refusal = (body: CreateBatch): string => {
  try {
    read(body);
  } catch (error) {
    if (error instanceof Problem) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "accepted";
};

describe("a batch asked for", () => {
  test("by its file alone has one attempt and ends by itself, whatever sessions are given", () => {
    const { spec, notes } = read({ file: " hdfs:///a.py " });
    expect(spec).toMatchObject({ kind: "shared", idleTimeoutMs: 0, ttlMs: 0, ttl: null, heartbeatTimeoutMs: 0, preset: { name: "p" } });
    expect(spec.application).toEqual({
      ...{ file: "hdfs:///a.py", className: null, args: [] },
      retry: { maxAttempts: 1, backoffMs: 10_000, on: ALL },
    });
    expect(notes).toEqual([]);
  });

  test("with every field is kept to the last one; arguments become text", () => {
    const { spec } = read({
      ...{ file: "hdfs:///a.jar", className: "org.example.Main$", args: ["a", 3, true], name: "n", proxyUser: "bob", queue: "q" },
      ...{ jars: ["hdfs:///b.jar"], driverMemory: "1g", driverCores: "2", numExecutors: "3", conf: { "spark.x": 1 }, ttl: "2h" },
      retry: { maxAttempts: "4", backoffSeconds: 0, on: ["driver-lost"] },
    });
    expect(spec).toMatchObject({ name: "n", proxyUser: "bob", queue: "q", driverCores: 2, numExecutors: 3, conf: { "spark.x": "1" } });
    expect(spec).toMatchObject({ ttl: "2h", ttlMs: 7_200_000 });
    expect(spec.application).toEqual({
      ...{ file: "hdfs:///a.jar", className: "org.example.Main$", args: ["a", "3", "true"] },
      retry: { maxAttempts: 4, backoffMs: 0, on: ["driver-lost"] },
    });
  });

  test("says when it is to be tried again in conf too, where Spark does not see it", () => {
    const conf = {
      ...{ "spark.longwick.retry.maxAttempts": 3, "spark.longwick.retry.backoffSeconds": "7", "spark.x": "y" },
      "spark.longwick.retry.on": "driver-lost, non-zero-exit",
    };
    const { spec } = read({ file: "hdfs:///a.py", conf });
    expect(spec.application?.retry).toEqual({ maxAttempts: 3, backoffMs: 7_000, on: ["driver-lost", "non-zero-exit"] });
    expect(spec.conf).toEqual({ "spark.x": "y" });
    expect(read({ file: "hdfs:///a.py", conf, retry: { maxAttempts: 2 } }).spec.application?.retry.maxAttempts).toBe(2);
  });

  test("names the fields that mean nothing to it", () => {
    const body = { file: "hdfs:///a.py", kind: "pyspark", idleTimeout: "1h", nosuch: 1 } as CreateBatch;
    expect(read(body).notes).toEqual(
      ["kind", "idleTimeout", "nosuch"].map((field) => `Unknown field '${field}' of the request is ignored.`),
    );
  });

  test.for<[CreateBatch, string]>([
    [{}, "SPEC_REFUSED: Rejected, Reason: requirement failed: File is required."],
    [{ file: null }, "File is required."],
    [{ file: " " }, "File is required."],
    [{ file: "hdfs:///a.jar", className: "no class" }, "Invalid className: no class"],
    [{ file: "hdfs:///a.jar", className: "--conf" }, "Invalid className: --conf"],
    [{ file: "hdfs:///a.py", args: ["a\0b"] }, "An argument holds a NUL character or is too long."],
    [{ file: "hdfs:///a.py", retry: { maxAttempts: 0 } }, "retry.maxAttempts must be from 1 to 20"],
    [{ file: "hdfs:///a.py", retry: { maxAttempts: 21 } }, "retry.maxAttempts must be from 1 to 20"],
    [{ file: "hdfs:///a.py", retry: { on: ["never"] } }, "retry.on knows submission-refused, driver-lost, non-zero-exit, not never"],
    [{ file: "hdfs:///a.py", conf: { "spark.longwick.retry.maxAttempts": "two" } }, "retry.maxAttempts must be a whole number, not two"],
    [{ file: "hdfs:///a.py", conf: { "spark.master": "yarn" } }, "Blacklisted configuration values"],
    [{ file: "hdfs:///a.py", name: "12" }, "Invalid session name: 12"],
  ])("%j is refused: %s", ([body, words]) => {
    expect(refusal(body)).toContain(words);
  });
});
