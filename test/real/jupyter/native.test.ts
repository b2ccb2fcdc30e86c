import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HeldPython } from "../../kit/held-python.ts";
import { installKernel } from "../../kit/kernelspec.ts";
import { Livy } from "../../kit/livy.ts";
import { lives, processesNaming } from "../../kit/processes.ts";
import { clientsPython } from "../../kit/python.ts";
import { type Server, startServer } from "../../kit/server.ts";
import { until } from "../../kit/until.ts";

/** The kernel as Jupyter's own Python clients find it installed, on real Spark (kernel_cases.py). */

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const RUN_MS = 560_000;

/** How each case ended: null when it held. */
type Outcomes = Readonly<Record<string, string | null>>;

const runCases = async (env: NodeJS.ProcessEnv, out: string, classes: readonly string[]): Promise<Outcomes> => {
  await promisify(execFile)(await clientsPython(), [here("kernel_cases.py"), out, ...classes], {
    env,
    timeout: RUN_MS,
    maxBuffer: 2 ** 26,
  });
  // Written by our own script.
  return JSON.parse(readFileSync(out, "utf8")) as Outcomes;
};

/** The cases written down in kernel_cases.py, or Jupyter's own. */
const CASES = readFileSync(here("kernel_cases.py"), "utf8");
const casesOf = (name: string): readonly string[] => {
  const [, body = ""] = new RegExp(`\nclass ${name}\\((?:[\\s\\S]*?)\\):([\\s\\S]*?)(?=\nclass |\ndef )`).exec(CASES) ?? [];
  return [...body.matchAll(/\n {4}def (test_\w+)/g)].map(([, test]) => `${name}.${test}`);
};
const OURS = ["Messages", "TwoClients", "Transports", "Configure"];
const OWN = ["Lives", "Configure", "Directory"];
const CONFORMANCE = [
  ...["kernel_info", "execute_stdout", "execute_stderr", "completion", "is_complete", "pager", "error", "execute_result"],
  ...["display_data", "history", "inspect", "clear_output", "recv_iopub_welcome_msg"],
].map((name) => `Conformance.test_${name}`);

describe("the kernel of a server", () => {
  let server: Server;
  let env: NodeJS.ProcessEnv;
  let outcomes: Outcomes = {};

  /** One act; each test looks at one case. */
  beforeAll(async () => {
    server = await startServer();
    env = {
      ...installKernel(server.directory, "remote", { LONGWICK_URL: server.url, LONGWICK_RUNTIME_DIR: join(server.directory, "kernels") }),
    };
    outcomes = await runCases(env, join(server.directory, "cases.json"), ["Conformance", ...OURS]);
  }, 580_000);
  afterAll(() => server[Symbol.asyncDispose]());

  const cases = [...CONFORMANCE, ...OURS.flatMap(casesOf)];

  test.for(cases)("%s", (name) => {
    expect(outcomes[name]).toBeNull();
  });

  test("had no other cases", () => {
    expect(Object.keys(outcomes).sort()).toEqual([...cases].sort());
  });

  test("is ended by its lease when its process was killed with 9, and nothing of it is left", { timeout: 240_000 }, async () => {
    const settings = { LONGWICK_URL: server.url, LONGWICK_RUNTIME_DIR: join(server.directory, "kernels"), LONGWICK_KERNEL_LEASE_MS: "30s" };
    const leased = { ...installKernel(server.directory, "leased", settings), PYTHONPATH: here(".") };
    // Longer than the lease with its kernel, then without.
    const script = `import kernel_cases as k, time
m = k.started(); c = k.connected(m)
k.run(c, "1", 90); k.run(c, "import time; time.sleep(40)", 60)
print(k.run(c, "2", 60)[0]["status"], flush=True); k.os.kill(k.pid_of(m), 9); k.sys.exit(0)`;
    const livy = new Livy(server.url);
    const list = () =>
      livy.expect<{ sessions: readonly { id: number; state: string; log: readonly string[] }[] }>(200, "GET", "/sessions?size=1000");
    const before = new Set((await list()).sessions.map(({ id }) => id));
    const { stdout } = await promisify(execFile)(await clientsPython(), ["-c", script], { env: leased, timeout: 200_000 });
    expect(stdout).toBe("ok\n");
    const [session] = (await list()).sessions.filter(({ id }) => !before.has(id));
    if (session === undefined) throw new Error("the kernel had no session");
    const processes = server.driverProcesses(session.id);
    expect(processes.length).toBeGreaterThan(0);
    const ended = await until("the lease is over", 60_000, async () =>
      (await list()).sessions.find(({ id, state }) => id === session.id && state === "dead"),
    );
    expect(ended.log.join("\n")).toContain("there was no heartbeat for 30 s");
    await until("no process is left", 30_000, () => (processes.some(({ pid }) => lives(pid)) ? undefined : true));
    livy.close();
  });

  test("leaves no session behind that its manager shut down", async () => {
    const livy = new Livy(server.url);
    const { sessions } = await livy.expect<{ sessions: readonly { state: string }[] }>(200, "GET", "/sessions?size=1000");
    expect(sessions.filter(({ state }) => !["dead", "killed", "success", "error"].includes(state))).toEqual([]);
    livy.close();
  });

  /** Runs drive_away.py, does what is to be done at its words, and answers what it saw. */
  const driveAway = async (name: string, at: Readonly<Record<"PRINTING" | "SENT", () => Promise<void>>>, ...args: readonly string[]) => {
    const out = join(server.directory, `${name}.json`);
    const child = spawn(await clientsPython(), [here("drive_away.py"), out, ...args], { env, stdio: ["pipe", "pipe", "inherit"] });
    const ended = once(child, "exit");
    for await (const line of createInterface({ input: child.stdout })) {
      if (line === "PRINTING") {
        await at.PRINTING();
        child.stdin.end("go on\n");
      } else if (line === "SENT") await at.SENT();
    }
    expect((await ended)[0]).toBe(0);
    // Written by our own script.
    return JSON.parse(readFileSync(out, "utf8")) as Record<"lines" | "replies" | "types" | "notices" | "others", unknown>;
  };

  test("loses and doubles nothing when the server is killed and comes back while a cell prints", { timeout: 240_000 }, async () => {
    const seen = await driveAway("away", { PRINTING: () => server.kill(), SENT: () => server.start() }, "told");
    expect(seen.lines).toBe(Array.from({ length: 700 }, (_, n) => `${n} ${"é".repeat(20)}\n`).join(""));
    expect(seen.types).not.toContain("clear_output");
    expect(seen.replies).toEqual(["ok", "ok", "ok"]);
    expect(seen.others).toEqual(["sent while the server was away\n", "after all\n"]);
    expect(seen.notices).toEqual([expect.stringMatching(/the server has been away since/), expect.stringMatching(/was away for \d+ s/)]);
  });

  test("sends again what a server held for a driver that could not be reached, and died with", { timeout: 240_000 }, async () => {
    const livy = new Livy(server.url);
    const running = async () => {
      const { sessions } = await livy.expect<{ sessions: readonly { id: number; state: string }[] }>(200, "GET", "/sessions?size=1000");
      return sessions.find(({ state }) => state === "busy")?.id ?? -1;
    };
    let session = -1;
    const seen = await driveAway("held", {
      PRINTING: async () => {
        session = await running();
        server.signalSupervisor(session, "SIGSTOP");
      },
      SENT: async () => {
        await server.kill();
        await server.start();
        server.signalSupervisor(session, "SIGCONT");
      },
    });
    livy.close();
    expect(seen.lines).toBe(Array.from({ length: 700 }, (_, n) => `${n} ${"é".repeat(20)}\n`).join(""));
    expect(seen.types).not.toContain("clear_output");
    expect(seen.replies).toEqual(["ok", "ok", "ok"]);
    expect(seen.others).toEqual(["sent while the server was away\n", "after all\n"]);
  });
});

describe("the kernel with a server of its own", () => {
  const directory = mkdtempSync(join(tmpdir(), "lw-"));
  let python: HeldPython;
  let env: NodeJS.ProcessEnv;
  let outcomes: Outcomes = {};

  beforeAll(async () => {
    // So many milliseconds a driver outlives a kernel that was killed.
    python = await HeldPython.make();
    const own = { LONGWICK_PYTHON: python.path, LONGWICK_RUNTIME_DIR: join(directory, "run"), LONGWICK_ORPHAN_TIMEOUT_MS: "15s" };
    env = { ...installKernel(directory, "own", own), HOLD_DRIVERS: python.sign };
    outcomes = await runCases(env, join(directory, "cases.json"), OWN);
  }, 580_000);
  afterAll(() => {
    for (const { pid } of processesNaming(directory)) process.kill(pid, "SIGKILL");
    python[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  });

  test.for(OWN.flatMap(casesOf))("%s", (name) => {
    expect(outcomes[name]).toBeNull();
  });

  test("leaves no process and no directory behind", async () => {
    await until("no process is left", 60_000, () => (processesNaming(directory).length === 0 ? true : undefined));
  });

  test("leaves no driver behind when it is killed with 9", { timeout: 180_000 }, async () => {
    const script =
      "import sys, kernel_cases as k\nm = k.started()\nc = k.connected(m)\nk.run(c, '1', 90)\nk.os.kill(k.pid_of(m), 9)\nsys.exit(0)";
    const options = { env: { ...env, PYTHONPATH: here(".") }, timeout: 150_000 };
    await promisify(execFile)(await clientsPython(), ["-c", script], options);
    expect(processesNaming(directory).some(({ command }) => command.includes("spark_shim"))).toBe(true);
    await until("no process is left", 90_000, () => (processesNaming(directory).length === 0 ? true : undefined));
  });
});
