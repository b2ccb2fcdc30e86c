import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Livy, textOf } from "../test/kit/livy.ts";
import { proportionalKib, type RunningProcess, residentKib } from "../test/kit/processes.ts";
import { type Server, startServer } from "../test/kit/server.ts";
import { until } from "../test/kit/until.ts";
import { firstLine } from "./child.ts";
import type { Row } from "./report.ts";
import { median } from "./stats.ts";
import { requestsPerSecond } from "./throughput.ts";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const MIB = 1024;

export interface Bench {
  /** How much to measure: 20 is the full size. */
  readonly rounds: number;
  /** A real Livy to measure beside; null without one. */
  readonly livyUrl: string | null;
  readonly driverPython: string;
  readonly clientsPython: string;
}

// ── Clients ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

type Samples = Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;

/** Statements by REST and by Sparkmagic against the same in ipykernel, in turn (bench/clients.py). */
export const clients = async (bench: Bench): Promise<readonly Row[]> => {
  await using server = await startServer({ python: bench.driverPython });
  const out = join(server.directory, "clients.json");
  const urls = [`longwick=${server.url}`, ...(bench.livyUrl === null ? [] : [`livy=${bench.livyUrl}`])];
  await promisify(execFile)(bench.clientsPython, [here("clients.py"), out, String(bench.rounds), ...urls], { maxBuffer: 2 ** 26 });
  // Written by our own script.
  const samples = JSON.parse(readFileSync(out, "utf8")) as Samples;
  const row = (measure: string, what: string, goal: Row["goal"]): Row => {
    const { longwick = [], ipykernel = [], livy } = samples[measure] ?? {};
    return { what, unit: "ms", ours: longwick, floor: { name: "ipykernel", values: ipykernel }, livy, goal };
  };
  return [
    row("1+1, client polls every 10 ms", "`1+1`, POST to result in hand, client polls every 10 ms", { kind: "ratio", atMost: 0.5 }),
    row("1+1, no held GET, no pause", "the same without held GETs, no pause between polls", { kind: "ratio", atMost: 0.7 }),
    row("Sparkmagic cell 1+1 (longwick)", "a Sparkmagic cell `1+1`, unmodified client", { kind: "more", atMost: 40 }),
    row("200 statements one by one", "200 statements one by one", { kind: "ratio", atMost: 0.5 }),
    row("1 MB printed", "1 MB printed", { kind: "ratio", atMost: 1.2 }),
    row("10 MB printed", "10 MB printed", { kind: "none" }),
  ];
};

// ── Start ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const ANSWERS = { "1+1": { kind: "ratio", atMost: 0.8 }, "spark.range(1000).count()": { kind: "none" } } as const;

/** A session from nothing to its first answer, against bare PySpark in bare Python doing the same; with the class-data archive and without. */
export const coldStart = async (bench: Bench): Promise<readonly Row[]> => {
  const rounds = Math.max(2, Math.round(bench.rounds / 5));
  await using prepared = await startServer({ python: bench.driverPython });
  await archiveMade(prepared);
  // A directory that cannot be written to: no archive is found there and none is made.
  await using bare = await startServer({ python: bench.driverPython, flags: ["--home", "/proc/longwick-no-archive"] });
  const rows: Row[] = [];
  for (const [code, goal] of Object.entries(ANSWERS)) {
    const [floor, withArchive, without]: number[][] = [[], [], []];
    for (let round = 0; round < rounds; round += 1) {
      floor?.push(await bareStart(bench.driverPython, code));
      withArchive?.push(await firstAnswer(prepared.url, code));
      without?.push(await firstAnswer(bare.url, code));
    }
    const floorOf = { name: "bare PySpark", values: floor ?? [] };
    const slower: Row["goal"] = goal.kind === "ratio" ? { kind: "ratio", atMost: 1.1 } : goal;
    rows.push({
      what: `create → first answer (\`${code}\`), cold, with the class-data archive`,
      unit: "ms",
      ours: withArchive ?? [],
      floor: floorOf,
      goal,
    });
    rows.push({ what: `the same without the archive`, unit: "ms", ours: without ?? [], floor: floorOf, goal: slower });
  }
  return rows;
};

const bareStart = async (python: string, code: string): Promise<number> => {
  const began = performance.now();
  const child = spawn(python, [here("bare_spark.py"), code], { stdio: ["pipe", "pipe", "ignore"] });
  await firstLine(child.stdout);
  const spent = performance.now() - began;
  child.stdin.end();
  await once(child, "exit");
  return spent;
};

const firstAnswer = async (url: string, code: string): Promise<number> => {
  const livy = new Livy(url);
  const began = performance.now();
  const { id } = await livy.create();
  const statement = await livy.submit(id, code);
  await livy.finished(id, statement.id, 120_000);
  const spent = performance.now() - began;
  await livy.delete(id);
  livy.close();
  return spent;
};

/** The first session of a machine has the archive made in the background; sessions started after that use it. */
const archiveMade = async (server: Server): Promise<void> => {
  const livy = new Livy(server.url);
  await until(
    "the class-data archive is made",
    180_000,
    async () => {
      const { id } = await livy.ready();
      const used = server.driverProcesses(id).some(({ command }) => command.includes("-XX:SharedArchiveFile="));
      await livy.delete(id);
      return used ? true : undefined;
    },
    5_000,
  );
  livy.close();
};

// ── Server ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const SESSIONS = 100;
const USER = { name: "bench", password: "warm and burning" };

/** GETs per second with authentication and a hundred sessions, against a constant node server; and the server's memory. */
export const server = async (bench: Bench): Promise<readonly Row[]> => {
  const directory = mkdtempSync(join(tmpdir(), "lw-bench-"));
  using _removed = { [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }) };
  const htpasswd = join(directory, "htpasswd");
  const { hash } = await import("bcryptjs");
  writeFileSync(htpasswd, `${USER.name}:${await hash(USER.password, 10)}\n`);
  const authorization = `Basic ${Buffer.from(`${USER.name}:${USER.password}`).toString("base64")}`;
  await using idle = await startServer({
    entry: here("idle-server.ts"),
    python: bench.driverPython,
    flags: ["--htpasswd", htpasswd],
    headers: { Authorization: authorization },
  });
  const livy = new Livy(idle.url, { Authorization: authorization });
  await livy.expect(200, "GET", "/sessions");
  const emptyKib = residentKib(idle.pid);
  let last = 0;
  for (let count = 0; count < SESSIONS; count += 10) {
    const made = await Promise.all(Array.from({ length: 10 }, () => livy.create()));
    await Promise.all(made.map(({ id }) => livy.inState(id, ["idle"])));
    last = made.at(-1)?.id ?? 0;
  }
  const attachedKib = residentKib(idle.pid);

  const path = `/sessions/${last}`;
  const body = JSON.stringify((await livy.ask("GET", path)).body);
  const constant = spawn(process.execPath, [here("constant-server.ts"), body], { stdio: ["ignore", "pipe", "inherit"] });
  const constantPort = Number(await firstLine(constant.stdout));
  const forMs = bench.rounds >= 20 ? 3_000 : 1_000;
  const [ours, floor]: [number[], number[]] = [[], []];
  for (let round = 0; round < 6; round += 1) {
    const counts = [
      await requestsPerSecond(constantPort, path, {}, forMs),
      await requestsPerSecond(idle.port, path, { Authorization: authorization }, forMs),
    ];
    if (round === 0) continue;
    floor.push(counts[0] ?? 0);
    ours.push(counts[1] ?? 0);
  }
  constant.kill();
  const workedKib = residentKib(idle.pid);
  livy.close();
  return [
    {
      what: `\`GET /sessions/{id}\` per second, authentication on, ${SESSIONS} sessions`,
      unit: "/s",
      ours,
      floor: { name: "constant node server", values: floor },
      goal: { kind: "ratio", atLeast: 0.6 },
    },
    {
      what: "server's resident memory, no session",
      unit: "MB",
      ours: [(await builtServerKib(bench)) / MIB],
      floor: null,
      goal: { kind: "value", atMost: 120 },
    },
    {
      what: "the same from a checkout by `npm start`, from its second start on",
      unit: "MB",
      ours: [(await sourceServerKib(bench)) / MIB],
      floor: null,
      goal: { kind: "value", atMost: 120 },
    },
    {
      what: `the same, for each of ${SESSIONS} attached idle sessions`,
      unit: "MB",
      ours: [(attachedKib - emptyKib) / MIB / SESSIONS],
      floor: null,
      goal: { kind: "value", atMost: 0.3 },
    },
    {
      what: "what all these GETs added to it",
      unit: "MB",
      ours: [(workedKib - attachedKib) / MIB],
      floor: null,
      goal: { kind: "none" },
    },
  ];
};

/** The server as people install it is built: it does not carry the part of Node that reads TypeScript. */
const builtServerKib = async (bench: Bench): Promise<number> => {
  await promisify(execFile)("npm", ["run", "build"], { cwd: here("..") });
  return serverKib(bench, "../dist/cli.js");
};

/** The first start leaves the code without its types behind. */
const sourceServerKib = async (bench: Bench): Promise<number> => {
  await serverKib(bench, "../bin/longwick.js");
  return serverKib(bench, "../bin/longwick.js");
};

const serverKib = async (bench: Bench, entry: string): Promise<number> => {
  await using server = await startServer({ entry: here(entry), python: bench.driverPython });
  await new Livy(server.url).expect(200, "GET", "/sessions");
  return residentKib(server.pid);
};

// ── Driver ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const USED = "spark.range(1000).count()";
/** A JVM's heap is another one each time. */
const MEMORY_ROUNDS = 5;

/** What a driver takes beyond bare PySpark, how fast it comes back from a loop and with a new interpreter, and the server from its death. */
export const driver = async (bench: Bench): Promise<readonly Row[]> => {
  const rounds = Math.max(3, Math.round(bench.rounds / 4));
  await using server = await startServer({ python: bench.driverPython });
  const livy = new Livy(server.url);
  const [ourMemory, bareMemory]: [number[], number[]] = [[], []];
  for (let round = 0; round < MEMORY_ROUNDS; round += 1) {
    const used = await livy.ready();
    await livy.run(used.id, USED);
    ourMemory.push(sum(server.driverProcesses(used.id), proportionalKib) / MIB);
    await livy.delete(used.id);
    bareMemory.push((await bareKib(bench.driverPython)) / MIB);
  }
  const { id } = await livy.ready();

  const loops: number[] = [];
  const recoveries: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const loop = await livy.submit(id, "while True: pass");
    await livy.running(id, loop.id);
    const began = performance.now();
    await livy.cancel(id, loop.id);
    await livy.run(id, "1+1");
    loops.push(performance.now() - began);

    const sleeper = await livy.submit(id, "import time; time.sleep(0.5); print('whole')");
    await livy.running(id, sleeper.id);
    await server.kill();
    const killed = performance.now();
    await server.restart();
    await livy.session(id);
    recoveries.push(performance.now() - killed);
    if (textOf(await livy.finished(id, sleeper.id)) !== "whole") throw new Error("a statement was lost");
  }
  const restarts: number[] = [];
  await using link = server.link(id);
  for (let round = 0; round < rounds; round += 1) {
    const began = performance.now();
    await link.request("restart", {}, AbortSignal.timeout(30_000));
    const answer = textOf(await livy.run(id, "spark.range(1).count()"));
    if (answer !== "1") throw new Error(`after a restart: ${answer}`);
    restarts.push(performance.now() - began);
  }
  livy.close();
  return [
    {
      what: "interrupt of `while True: pass` → next statement answered",
      unit: "ms",
      ours: loops,
      floor: null,
      goal: { kind: "value", atMost: 500 },
    },
    {
      what: "interpreter restarted in place, Spark kept → a Spark statement answered",
      unit: "ms",
      ours: restarts,
      floor: null,
      goal: { kind: "value", atMost: 1_000 },
    },
    {
      what: "server killed with 9 → a new one answers for the session",
      unit: "ms",
      ours: recoveries,
      floor: null,
      goal: { kind: "value", atMost: 2_000 },
    },
    {
      what: "a driver's memory after one Spark statement",
      unit: "MB",
      ours: ourMemory,
      floor: { name: "bare PySpark", values: bareMemory },
      goal: { kind: "more", atMost: 40 },
    },
  ];
};

const sum = (processes: readonly RunningProcess[], of: (pid: number) => number): number =>
  processes.reduce((total, { pid }) => total + of(pid), 0);

const bareKib = async (python: string): Promise<number> => {
  const child = spawn(python, [here("bare_spark.py"), USED], { stdio: ["pipe", "pipe", "ignore"] });
  await firstLine(child.stdout);
  const { stdout } = await promisify(execFile)("ps", ["-o", "pid=", "--pid", String(child.pid), "--ppid", String(child.pid)]);
  const kib = stdout
    .split("\n")
    .map(Number)
    .filter(Boolean)
    .reduce((total, pid) => total + proportionalKib(pid), 0);
  child.stdin.end();
  await once(child, "exit");
  return kib;
};

/** For the caller's progress line. */
export const shortOf = (rows: readonly Row[]): string =>
  rows.map((row) => `${row.what}: ${median(row.ours).toPrecision(3)} ${row.unit}`).join("\n");
