import { readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadConfig } from "../../src/config.ts";
import { makeEnvironment } from "../../src/prepare/environment.ts";
import { findPythons, PYTHON_COMMANDS, type Python } from "../../src/prepare/python.ts";
import { environmentsIn } from "../../src/prepare.ts";

/** Environments are made once a machine, in the cache directory, under a name that holds the hash of their requirements. */
const environment = async (name: string, minors: readonly number[]): Promise<string> => {
  const python = await pick(minors);
  const file = fileURLToPath(new URL(`requirements-${name}.txt`, import.meta.url));
  const spec = { name: `test-${name}`, python, install: ["--no-deps", "-r", file], content: readFileSync(file, "utf8") };
  const say = (line: string) => process.stderr.write(`[${name} environment] ${line.trim()}\n`);
  return makeEnvironment(environmentsIn(loadConfig([]).config.home), spec, say, AbortSignal.timeout(MAKE_MS));
};
const MAKE_MS = 15 * 60_000;

/** The first of these minor versions that is on this machine, pyenv's included. */
const pick = async (minors: readonly number[]): Promise<Python> => {
  const found = (await findPythons([...PYTHON_COMMANDS, ...pyenv()])).filter((python) => python.venv);
  for (const minor of minors) {
    const python = found.find((candidate) => candidate.minor === minor);
    if (python !== undefined) return python;
  }
  throw new Error(
    `the tests need a Python 3 of minor version ${minors.join(", ")} with venv; found ${found.map(({ version }) => version).join(", ")}`,
  );
};

const pyenv = (): readonly string[] => {
  const versions = join(homedir(), ".pyenv/versions");
  try {
    return readdirSync(versions).map((version) => join(versions, version, "bin/python3"));
  } catch {
    return [];
  }
};

/** Python with the newest Spark and all that a notebook expects: the drivers' in tests. */
export const driverPython = (): Promise<string> => environment("driver", [11, 12, 13, 14]);

/** Python with the unmodified clients: Sparkmagic, nbclient, pylivy, ipykernel. */
export const clientsPython = (): Promise<string> => environment("clients", [11, 12, 13]);

/** Python with JupyterLab and its extension for widgets. */
export const labPython = (): Promise<string> => environment("lab", [11, 12, 13]);
/** Python with Airflow and its provider for Livy. */
export const airflowPython = (): Promise<string> => environment("airflow", [11, 12, 13]);

/** The oldest Python found that Spark 3.5 runs on, with it and without IPython. */
export const oldestPython = (): Promise<string> => environment("oldest", [8, 9, 10, 11, 12, 13]);

/** Python with mypy, ruff and pytest. */
export const toolsPython = (): Promise<string> => environment("tools", [11, 12, 13, 14]);

/** Python with an S3 API server. */
export const s3Python = (): Promise<string> => environment("s3", [11, 12, 13, 14]);
