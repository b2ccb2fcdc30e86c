import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import pino from "pino";
import { Access, type AccessRules } from "../../src/core/access.ts";
import { kernelIdOf } from "../../src/core/kernel-id.ts";
import type {
  Attempt,
  Claim,
  ClaimDraft,
  ClaimListener,
  Launcher,
  LaunchPlan,
  SessionDraft,
  SessionEnd,
  WantedClaim,
  Workload,
} from "../../src/core/ports.ts";
import { type Preset, Presets } from "../../src/core/presets.ts";
import { Problem } from "../../src/core/problems.ts";
import { redactSpec } from "../../src/core/redaction.ts";
import { Schedules, type SchedulesLimits } from "../../src/core/schedules.ts";
import { Sessions, type SessionsLimits } from "../../src/core/sessions.ts";
import type { WorkloadPhase } from "../../src/core/states.ts";
import { type UploadRules, Uploads } from "../../src/core/uploads.ts";
import { Auth } from "../../src/faces/auth.ts";
import { createHttp, type Http, type HttpOptions } from "../../src/faces/http.ts";
import { type JupyterOptions, jupyterFace } from "../../src/faces/jupyter/routes.ts";
import { readKeptRequest } from "../../src/faces/livy/batch-draft.ts";
import type { LivyOptions } from "../../src/faces/livy/room.ts";
import { livyFace } from "../../src/faces/livy/routes.ts";
import { LocalSchedules } from "../../src/launch/local-schedules.ts";
import { openLink } from "../../src/link/link.ts";
import type { RecordFrame } from "../../src/protocol/frames.ts";
import { openDirectoryStore } from "../../src/uploads/directory.ts";
import { FakeDriver } from "../kit/fake-driver.ts";

/** Sessions in this process whose drivers are fakes on the real wire. */
export class FakeLauncher implements Launcher {
  readonly drivers: FakeDriver[] = [];
  readonly specs: ClaimDraft[] = [];
  readonly planned: SessionDraft[] = [];
  /** Whether drivers can be dialled as soon as they are launched. */
  listening = true;
  /** Claims that other servers made and nobody has told of yet, and how often they were asked for. */
  readonly unheard: Claim[] = [];
  asked = 0;
  readonly removed: number[] = [];
  /** While it is set claims are refused with it, or made and only then answered, unless nobody waits for the answer any more. */
  refusing: Problem | null = null;
  answering: Promise<void> | null = null;
  readonly schedulesDirectory = mkdtempSync(join(tmpdir(), "longwick-schedules-"));
  readonly schedules = new LocalSchedules(this.schedulesDirectory, { now: () => this.now });
  /** Clock of the schedules. */
  now = Date.now();
  readonly #names = new Map<string, number>();
  readonly #ends = new Map<number, PromiseWithResolvers<WorkloadPhase>>();
  #listener: ClaimListener | null = null;

  async claim(draft: ClaimDraft, signal?: AbortSignal): Promise<Claim> {
    if (this.refusing !== null) throw this.refusing;
    const { name } = draft.spec;
    const other = name === null ? undefined : this.#names.get(name);
    if (other !== undefined) throw new Problem("NAME_TAKEN", `Duplicate session name: ${name} for session ${other}`);
    if (name !== null) this.#names.set(name, this.drivers.length);
    this.specs.push(draft);
    const claim = this.elsewhere(draft);
    if (this.answering !== null) {
      const left = new Promise<never>((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason), { once: true }));
      await Promise.race([this.answering, left]);
    }
    // Other servers' news of it, this one's too, may be quicker than the answer.
    this.told.known(claim);
    return claim;
  }

  /** A claim as another server makes it. */
  elsewhere(draft: ClaimDraft): Claim {
    const id = this.drivers.length;
    this.drivers.push(Object.assign(new FakeDriver(), { session: draft.uid, listening: this.listening }));
    const { uid, owner, notes } = draft;
    return { id, uid, owner, spec: redactSpec(draft.spec), createdMs: Date.now(), notes, attempts: [], end: null };
  }

  async follow(listener: ClaimListener): Promise<void> {
    this.#listener = listener;
  }

  /** Who is told of what other servers do. */
  get told(): ClaimListener {
    return this.#listener ?? { known: () => undefined, gone: () => undefined };
  }

  async find(wanted: WantedClaim): Promise<Claim | null> {
    this.asked += 1;
    const fits = (claim: Claim): boolean =>
      "id" in wanted ? claim.id === wanted.id : "name" in wanted ? claim.spec.name === wanted.name : kernelIdOf(claim) === wanted.kernel;
    return this.unheard.find(fits) ?? null;
  }

  async plan(draft: SessionDraft): Promise<LaunchPlan> {
    this.planned.push(draft);
    return { conf: {}, jars: [], pyFiles: [], files: [], archives: [], workload: {} };
  }

  /** Ends a workload as another server's words in the claim do. */
  end(id: number, end: Pick<SessionEnd, "state" | "reason">): void {
    this.#ends.get(id)?.resolve({ phase: "ended", logTail: [], ...end });
  }

  driver(id: number): FakeDriver {
    const driver = this.drivers[id];
    if (driver === undefined) throw new Error(`session ${id} was never launched`);
    return driver;
  }

  launch(claim: Claim): Workload {
    const driver = this.driver(claim.id);
    const stopped = Promise.withResolvers<WorkloadPhase>();
    this.#ends.set(claim.id, stopped);
    const running: WorkloadPhase = { phase: "running" };
    return {
      phase: running,
      mute: null,
      key: driver.key,
      seal: driver.key,
      dial: driver.dial,
      async *phases(signal) {
        yield running;
        const aborted = new Promise<null>((resolve) => signal.addEventListener("abort", () => resolve(null), { once: true }));
        const last = await Promise.race([stopped.promise, aborted]);
        if (last !== null) yield last;
      },
      stop: async () => {
        driver.cut();
        driver.listening = false;
        stopped.resolve({ phase: "ended", state: "dead", reason: "stopped", logTail: [] });
      },
    };
  }

  async *records(): AsyncGenerator<readonly RecordFrame[]> {}

  async retry(claim: Claim, attempt: Attempt): Promise<Claim> {
    return { ...claim, attempts: [...claim.attempts, attempt] };
  }

  async log(): Promise<readonly []> {
    return [];
  }

  readonly showsExecutors = false;

  async executors(): Promise<readonly []> {
    return [];
  }

  async executorLog(): Promise<null> {
    return null;
  }

  async conclude(_claim: Claim, end: SessionEnd): Promise<SessionEnd> {
    return end;
  }

  async remove(claim: Claim): Promise<void> {
    this.removed.push(claim.id);
    if (claim.spec.name !== null) this.#names.delete(claim.spec.name);
  }

  async close(): Promise<void> {
    await this.schedules.close();
    rmSync(this.schedulesDirectory, { recursive: true, force: true });
  }
}

export interface ServiceOptions {
  readonly presets?: readonly Preset[];
  readonly defaultPreset?: string;
  readonly access?: Partial<AccessRules>;
  readonly htpasswdFile?: string;
  readonly tokensFile?: string;
  readonly checkUsers?: (users: readonly string[]) => void;
  readonly http?: Partial<HttpOptions>;
  /** How long statements wait for a driver; two seconds when absent. */
  readonly startWaitMs?: number;
  readonly livy?: Partial<LivyOptions>;
  readonly jupyter?: Partial<JupyterOptions>;
  readonly limits?: Partial<SessionsLimits & SchedulesLimits>;
  /** Where uploads are kept; absent: nowhere. */
  readonly uploads?: { readonly directory: string } & Partial<UploadRules>;
}

export interface Asking {
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
  /** Sent as it is. */
  readonly payload?: string | Buffer;
  readonly remote?: string;
}

/** The real face, core and link over fake drivers, asked without a socket. */
export class Service implements AsyncDisposable {
  readonly launcher: FakeLauncher;
  readonly sessions: Sessions;
  readonly schedules: Schedules;
  readonly http: Http;
  /** What the log got, a line each. */
  readonly lines: Record<string, unknown>[];

  static async start(options: ServiceOptions = {}): Promise<Service> {
    const lines: Record<string, unknown>[] = [];
    const log = pino({ level: options.http?.log?.level ?? "info" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const none: AccessRules = { superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] };
    const access = new Access({ ...none, ...options.access });
    const auth = await Auth.open({
      htpasswdFile: options.htpasswdFile ?? null,
      tokensFile: options.tokensFile ?? null,
      access,
      checkUsers: options.checkUsers ?? (() => undefined),
      onFault: (message) => log.warn(message),
    });
    const launcher = new FakeLauncher();
    const { directory, ...uploadRules } = options.uploads ?? { directory: null };
    const uploads: Uploads | null =
      directory === null
        ? null
        : new Uploads({
            store: openDirectoryStore(directory),
            access,
            rules: { limitBytes: 1024 * 1024, quotaBytes: 0, quotaFiles: 0, retentionMs: 0, ...uploadRules },
            clock: { now: Date.now },
            named: () => new Set([...sessions.uploads(), ...schedules.uploads()]),
          });
    const sessions: Sessions = new Sessions(
      { launcher, openLink, clock: { now: Date.now }, startWaitMs: options.startWaitMs ?? 2_000, stopGraceMs: 100, uploads: null },
      access,
      {
        maxSessions: 0,
        maxSessionsPerUser: 0,
        retentionMs: 60_000,
        ...options.limits,
      },
    );
    await sessions.adopt(AbortSignal.timeout(10_000));
    const schedules: Schedules = new Schedules({
      ...{ launcher, sessions, access, clock: { now: () => launcher.now } },
      limits: { maxSchedulesPerUser: 0, ...options.limits },
      read: (request, caller) => readKeptRequest(request, caller, livy),
      checkOwner: (owner) => auth.checkUser(owner),
    });
    await schedules.start(AbortSignal.timeout(10_000));
    const livy: LivyOptions = {
      ...{ sessions, schedules },
      presets: new Presets(options.presets ?? [], options.defaultPreset ?? null, access),
      spec: { kinds: ["pyspark", "sql"], refusedConf: ["spark.submit.deployMode"], idleTimeoutMs: 0, ttlMs: 0, impersonation: false },
      paths: { driversAreHere: true, localDirs: [], uploads },
      holdMs: 0,
      answerMs: 5_000,
      statementLimitBytes: 80 * 1024 * 1024,
      uploadLimitBytes: 1024 * 1024,
      historyUrl: () => null,
      version: "1.2.3",
      ...options.livy,
    };
    const jupyter: JupyterOptions = {
      ...{ sessions, spec: livy.spec, paths: livy.paths, version: livy.version, basePath: options.http?.basePath ?? "" },
      ...{ messageLimitBytes: 4 * 1024 * 1024, presets: livy.presets, launchDisplayMs: 50 },
      ...options.jupyter,
    };
    const http = await createHttp({
      ...{ basePath: "", trustedProxies: [], tls: null, auth, hostNames: [], origins: [], csrfHeader: false, gzipFromBytes: 65_536 },
      ...{ bodyLimitBytes: 1024 * 1024, home: "/docs/", version: "1.2.3", ready: () => true },
      ...options.http,
      log,
      faces: [livyFace(livy), jupyterFace(jupyter), ...(options.http?.faces ?? [])],
    });
    return new Service(launcher, sessions, schedules, http, lines);
  }

  private constructor(launcher: FakeLauncher, sessions: Sessions, schedules: Schedules, http: Http, lines: Record<string, unknown>[]) {
    this.launcher = launcher;
    this.sessions = sessions;
    this.schedules = schedules;
    this.http = http;
    this.lines = lines;
  }

  async ask(method: string, url: string, { headers = {}, body, payload, remote = "127.0.0.1" }: Asking = {}) {
    const sent = payload ?? (body === undefined ? undefined : JSON.stringify(body));
    const answer = await this.http.app.inject({
      // Methods that light-my-request does not list are sent all the same.
      method: method as "GET",
      url,
      headers: { host: "localhost:8998", ...headers },
      remoteAddress: remote,
      ...(sent === undefined ? {} : { payload: sent }),
    });
    const plain = answer.headers["content-encoding"] === undefined && answer.body !== "";
    const json: unknown = plain && answer.headers["content-type"]?.toString().startsWith("application/json") ? answer.json() : answer.body;
    return { status: answer.statusCode, headers: answer.headers, body: json, text: answer.body, bytes: answer.rawPayload };
  }

  /** A session whose driver is ready, by id. */
  async ready(fields: object = { kind: "pyspark" }, asking: Asking = {}): Promise<{ id: number; driver: FakeDriver }> {
    const created = await this.ask("POST", "/sessions", { ...asking, body: fields });
    const { id } = created.body as { id: number };
    if (created.status !== 201) throw new Error(`create answered ${created.status}: ${created.text}`);
    const driver = this.launcher.driver(id);
    const queue: Parameters<FakeDriver["on"]>[1] = (request) => {
      const key = String(request["key"]);
      const known = driver.statements.get(key);
      if (known !== undefined) return { result: { statement: known } };
      const statement =
        request["silent"] === true ? -1 - driver.statements.size : [...driver.statements.values()].filter((id) => id >= 0).length;
      driver.statements.set(key, statement);
      const { code, kind, origin, silent } = request;
      driver.emit("queued", { statement, key, code, kind, origin, silent });
      return { result: { statement } };
    };
    driver.on("submit", queue);
    driver.on("cell", queue);
    // None of them runs.
    driver.on("cancel", ({ statement }) => {
      driver.emit("finished", { statement, outcome: "cancelled", rung: "queue" });
      return { result: { state: "cancelled" } };
    });
    const facts = { python: "3.11.9", spark: "4.0.1", appId: "local-1", uiUrl: "http://localhost:4040", sparkUser: "ann", ipython: null };
    driver.emit("interpreter", { phase: "ready", reason: null, facts });
    await this.until(() => this.sessions.find(String(id), { name: null, remote: null }, "view").state === "idle");
    return { id, driver };
  }

  async until(fact: () => boolean): Promise<void> {
    const deadline = performance.now() + 8_000;
    while (!fact()) {
      if (performance.now() > deadline) throw new Error(`not so within 8 s: ${fact.toString()}`);
      await pause(2);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.http.close(100);
    await this.schedules.close();
    await this.sessions.close();
    await this.launcher.close();
    for (const driver of this.launcher.drivers) driver.cut();
  }
}
