import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Java } from "../../src/prepare/java.ts";
import type { Python } from "../../src/prepare/python.ts";
import { choose, lineOf, SPARK_LINES, sparkVersionIn } from "../../src/prepare/spark.ts";

const python = (minor: number): Python => ({ path: `/py3.${minor}`, version: `3.${minor}.1`, minor, venv: true, pyspark: null });
const java = (feature: number): Java => ({ path: `/java${feature}`, version: `${feature}.0.1`, feature });

describe("the newest Spark that what was found allows", () => {
  test.for([
    // Pythons, Javas → line, Python, Java (null: one is prepared)
    [[11], [17], "4.3", 11, 17],
    [[11], [21], "4.3", 11, 21],
    [[11], [25], "4.3", 11, 25],
    [[10], [17], "4.2", 10, 17],
    [[9], [17], "4.0", 9, 17],
    [[8], [17], "3.5", 8, 17],
    [[11], [11], "3.5", 11, 11],
    [[11], [8], "3.5", 11, 8],
    // The first that suits, not the newest; but a newer Spark is worth another Python or Java.
    [[12, 13], [21, 17], "4.3", 12, 21],
    [[9, 12], [17], "4.3", 12, 17],
    [[11], [11, 17], "4.3", 11, 17],
    // No Java at all, or none for any Spark that the Python allows.
    [[11], [], "4.3", 11, null],
    [[8], [], "3.5", 8, null],
    [[8], [25], "3.5", 8, null],
    [[13], [11], "4.3", 13, null],
    [[11], [7], "4.3", 11, null],
  ] as const)("Pythons 3.%j and Javas %j give Spark %s on 3.%s and %s", ([pythons, javas, line, minor, feature]) => {
    const choice = choose(SPARK_LINES, pythons.map(python), javas.map(java));
    expect([choice?.line.line, choice?.python.minor, choice?.java?.feature ?? null]).toEqual([line, minor, feature]);
  });

  test("is none when no Python suits", () => {
    expect(choose(SPARK_LINES, [], [java(17)])).toBeNull();
    expect(choose(SPARK_LINES, [python(7)], [java(17)])).toBeNull();
  });
});

test.for([
  ["3.5.0", "3.5"],
  ["3.5.9", "3.5"],
  ["4.0.1", "4.0"],
  ["4.1.4", "4.0"],
  ["4.2.0", "4.2"],
  ["4.9.0", "4.3"],
  ["4.3", "4.3"],
  ["3.4.4", null],
  ["5.0.0", null],
] as const)("Spark %s goes by the rules of %s", ([version, line]) => {
  expect(lineOf(version)?.line ?? null).toBe(line);
});

test("a Spark's version is told by its jars", () => {
  const home = mkdtempSync(join(tmpdir(), "longwick-spark-"));
  expect(sparkVersionIn(home)).toBeNull();
  mkdirSync(join(home, "jars"));
  for (const jar of ["spark-connect_2.13-9.9.9.jar", "spark-core_2.13-4.0.1-SNAPSHOT.jar"]) writeFileSync(join(home, "jars", jar), "");
  expect(sparkVersionIn(home)).toBe("4.0.1-SNAPSHOT");
  rmSync(home, { recursive: true });
});
