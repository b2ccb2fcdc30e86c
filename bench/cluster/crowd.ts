import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { redactSpec } from "../../src/core/redaction.ts";
import { Claims } from "../../src/launch/kubernetes/claims.ts";
import { planDriver } from "../../src/launch/kubernetes/driver.ts";
import { KEY_BYTES, MasterKeys } from "../../src/launch/kubernetes/keys.ts";
import { driverName } from "../../src/launch/kubernetes/names.ts";
import type { DriverPod } from "../../src/launch/kubernetes/pod-reading.ts";
import { ClusterSite, inNamespace, soon } from "../../test/kit/cluster.ts";
import { Livy, type SessionInfo } from "../../test/kit/livy.ts";
import { residentKib } from "../../test/kit/processes.ts";
import { type Server, startServer } from "../../test/kit/server.ts";
import { until } from "../../test/kit/until.ts";
import { specOf } from "../../test/launch/contract.ts";
import { firstLine } from "../child.ts";
import type { Row } from "../report.ts";
import type { CrowdOrder } from "./crowd-drivers.ts";
import { BENCH_NAMESPACE } from "./namespace.ts";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const SESSIONS = 1_000;
/** Claims and pods that are made at once. */
const AT_ONCE = 16;
const WINDOW_MS = 20_000;
/** What starting and attaching leave behind is collected by then. */
const SETTLE_MS = 30_000;
const MIB = 1024;

type Member = CrowdOrder["sessions"][number];

/**
 * Sessions that are there as far as a server can tell: their claims and their pods are real objects of the cluster, with the status of pods
 * that run; no scheduler gives them a node. Whoever dials a pod's address, which is one of this machine's loopback, finds a driver.
 */
class Crowd implements AsyncDisposable {
  readonly site = new ClusterSite({ namespace: BENCH_NAMESPACE, serverNamespace: BENCH_NAMESPACE });
  readonly directory = mkdtempSync(join(tmpdir(), "lw-crowd-"));
  readonly #master = randomBytes(KEY_BYTES);
  readonly #keys = new MasterKeys([this.#master]);
  readonly #claims = new Claims(this.site.api, BENCH_NAMESPACE, this.site.settings.instance, this.#keys);
  #drivers: ChildProcess | null = null;

  constructor() {
    writeFileSync(this.keyFile, this.#master.toString("base64"));
  }

  get keyFile(): string {
    return join(this.directory, "master-key");
  }

  async gather(size: number): Promise<void> {
    const sessions: Member[] = [];
    for (let count = 0; count < size; count += AT_ONCE) {
      const numbers = Array.from({ length: Math.min(AT_ONCE, size - count) }, (_, index) => count + index);
      sessions.push(...(await Promise.all(numbers.map((number) => this.#join(number)))));
    }
    const order = join(this.directory, "order.json");
    writeFileSync(order, JSON.stringify({ master: this.#master.toString("base64"), sessions } satisfies CrowdOrder));
    this.#drivers = spawn(process.execPath, [here("crowd-drivers.ts"), order], { stdio: ["pipe", "pipe", "inherit"] });
    if (this.#drivers.stdout !== null) await firstLine(this.#drivers.stdout);
  }

  async #join(number: number): Promise<Member> {
    const { api, settings } = this.site;
    const [uid, spec] = [randomUUID(), specOf()];
    const { claim } = await this.#claims.claim({ uid, owner: null, notes: [], spec }, soon());
    const pods = { ...settings, namespace: BENCH_NAMESPACE, driverTemplate: null, executorTemplate: null };
    const { pod } = planDriver({ claim: { ...claim, spec: redactSpec(spec) }, spec, settings: pods });
    const unscheduled = { ...pod, spec: { ...pod.spec, schedulerName: "nobody" } };
    const made = await api.create<DriverPod>(inNamespace("pods", "", BENCH_NAMESPACE), unscheduled, soon());
    const address = `127.1.${number >> 8}.${number & 255}`;
    const running = { startedAt: new Date().toISOString() };
    const name = driverName(settings.instance, claim);
    const container = {
      name: pod.spec?.containers[0]?.name,
      image: settings.image,
      imageID: "",
      ready: true,
      started: true,
      restartCount: 0,
    };
    const status = {
      phase: "Running",
      podIP: address,
      podIPs: [{ ip: address }],
      containerStatuses: [{ ...container, state: { running } }],
    };
    await api.merge(`${inNamespace("pods", name, BENCH_NAMESPACE)}/status`, { status }, soon());
    await this.#claims.launched(claim, made.metadata.uid, soon());
    return { uid, address };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#drivers?.stdin?.end();
    await this.site.dispose();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The server as people install it; it finds what there is of this crowd's. */
const serve = (crowd: Crowd): Promise<Server> => {
  const settings = {
    launcher: "kubernetes",
    "kubernetes-image": crowd.site.settings.image,
    "kubernetes-instance": crowd.site.settings.instance,
    "kubernetes-namespace": BENCH_NAMESPACE,
    "kubernetes-server-namespace": BENCH_NAMESPACE,
    "kubernetes-master-key": crowd.keyFile,
    "kubernetes-reach": "address",
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  return startServer({ entry: here("../../dist/cli.js"), python: "python3", flags });
};

/** Nanoseconds that all threads of a process have run. */
const ranNs = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`).reduce(
    (sum, task) => sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]),
    0,
  );

interface Idle {
  /** In hundredths of a core, one value a window. */
  readonly percent: number[];
  readonly mib: number[];
}

/** What processes that have nothing to do need, all in the same windows of time. */
const watchIdle = async (pids: readonly number[], windows: number): Promise<readonly Idle[]> => {
  const seen = pids.map((): Idle => ({ percent: [], mib: [] }));
  for (let window = 0; window < windows; window += 1) {
    const [before, began] = [pids.map(ranNs), performance.now()];
    await pause(WINDOW_MS);
    const spentNs = (performance.now() - began) * 1e6;
    for (const [index, pid] of pids.entries()) {
      seen[index]?.percent.push(((ranNs(pid) - (before[index] ?? 0)) / spentNs) * 100);
      seen[index]?.mib.push(residentKib(pid) / MIB);
    }
  }
  return seen;
};

/** An idle server with a thousand sessions, beside one with none and a bare HTTP server; over TLS, as drivers in pods are spoken to. */
export const crowd = async (rounds: number): Promise<readonly Row[]> => {
  await promisify(execFile)("npm", ["run", "build"], { cwd: here("../..") });
  await using full = new Crowd();
  await using none = new Crowd();
  await full.gather(SESSIONS);
  const bare = spawn(process.execPath, [here("../constant-server.ts"), "{}"], { stdio: ["ignore", "pipe", "inherit"] });
  using _bare = { [Symbol.dispose]: () => bare.kill() };
  await firstLine(bare.stdout);
  await using empty = await serve(none);
  const began = performance.now();
  await using server = await serve(full);
  // Its sessions are not to be deleted one by one.
  await using _stopped = { [Symbol.asyncDispose]: () => server.stop() };
  const livy = new Livy(server.url);
  await until("all sessions are idle", 120_000, async () => {
    const { sessions } = await livy.expect<{ sessions: readonly SessionInfo[] }>(200, "GET", `/sessions?size=${2 * SESSIONS}`);
    return sessions.length === SESSIONS && sessions.every(({ state }) => state === "idle") ? true : undefined;
  });
  const adoptedMs = performance.now() - began;
  livy.close();
  await pause(SETTLE_MS);
  const [ours, zero, floor] = await watchIdle([server.pid, empty.pid, bare.pid ?? 0], Math.max(3, Math.round(rounds / 3)));
  if (ours === undefined || zero === undefined || floor === undefined) throw new Error("three processes were watched");
  return rowsOf({ ours, zero, floor }, adoptedMs);
};

/** `zero`: the server without sessions; `floor`: the bare one. */
const rowsOf = ({ ours, zero, floor }: Readonly<Record<"ours" | "zero" | "floor", Idle>>, adoptedMs: number): readonly Row[] => {
  const many = SESSIONS.toLocaleString("en");
  const bare = "bare HTTP server";
  const perSession = ours.mib.map((mib, window) => (mib - (zero.mib[window] ?? 0)) / SESSIONS);
  return [
    {
      what: `server's CPU with ${many} idle sessions, in hundredths of a core`,
      unit: "%",
      ours: ours.percent,
      floor: { name: "the same server, no session", values: zero.percent },
      goal: { kind: "value", atMost: 100 },
    },
    {
      what: "the same, no session",
      unit: "%",
      ours: zero.percent,
      floor: { name: bare, values: floor.percent },
      goal: { kind: "none" },
    },
    {
      what: "server's resident memory, no session",
      unit: "MB",
      ours: zero.mib,
      floor: { name: bare, values: floor.mib },
      goal: { kind: "value", atMost: 200 },
    },
    {
      what: `the same, for each of ${many} idle sessions`,
      unit: "MB",
      ours: perSession,
      floor: null,
      goal: { kind: "value", atMost: 0.3 },
    },
    {
      what: `server started → all of ${many} sessions taken over and idle`,
      unit: "ms",
      ours: [adoptedMs],
      floor: null,
      goal: { kind: "none" },
    },
  ];
};
