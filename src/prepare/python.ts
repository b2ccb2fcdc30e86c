import { run } from "./run.ts";

/** A Python on this machine, as it described itself. */
export interface Python {
  /** Its executable, behind all wrappers. */
  readonly path: string;
  readonly version: string;
  /** The 11 of 3.11; Pythons of other majors are not found. */
  readonly minor: number;
  /** Whether `python -m venv` makes an environment with pip in it. */
  readonly venv: boolean;
  /** The version of its own pyspark package; null: it has none. */
  readonly pyspark: string | null;
}

/** Where Pythons are looked for, in order of preference. */
export const PYTHON_COMMANDS: readonly string[] = [
  "python3",
  "python",
  ...[14, 13, 12, 11, 10, 9, 8].map((minor) => `python3.${minor}`),
  "/usr/bin/python3",
  "/usr/local/bin/python3",
];

const DESCRIBE = `
import importlib.util, json, sys
try:
    from importlib.metadata import version
    pyspark = version("pyspark") if importlib.util.find_spec("pyspark") else None
except Exception:
    pyspark = None
venv = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
print(json.dumps({"path": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3], "venv": venv, "pyspark": pyspark}))
`;

/** What the command says of itself; null when it is no Python 3 that runs. */
export const inspectPython = async (command: string): Promise<Python | null> => {
  const { ok, stdout } = await run(command, ["-c", DESCRIBE]);
  if (!ok) return null;
  try {
    // Printed by DESCRIBE; what else a start-up file of the user's prints comes before it.
    const described = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Omit<Python, "minor">;
    const [major, minor] = described.version.split(".").map(Number);
    return major === 3 && minor !== undefined ? { ...described, minor } : null;
  } catch {
    return null;
  }
};

/** The Pythons behind these commands, each once. */
export const findPythons = async (commands: readonly string[]): Promise<readonly Python[]> => {
  const found = await Promise.all(commands.map(inspectPython));
  const byPath = new Map(found.flatMap((python) => (python === null ? [] : [[python.path, python] as const])));
  return [...byPath.values()];
};
