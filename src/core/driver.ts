import { createHmac } from "node:crypto";
import type { Duplex } from "node:stream";
import type { RecordFrame, ReplyResult, RequestBody, RequestName } from "../protocol/frames.ts";
import { Delivery } from "./delivery.ts";
import { passable } from "./depth.ts";
import { publishSession } from "./events.ts";
import type { Claim, DriverLink, ForwardPlace, LinkEvent, OpenLink, SessionEnd, Workload } from "./ports.ts";
import { Problem } from "./problems.ts";
import { RefusedExecutors } from "./refused-executors.ts";
import { SessionLog } from "./session-log.ts";
import type { WorkloadPhase } from "./states.ts";
import { Subscribers } from "./subscribers.ts";
import type { UploadSource } from "./uploads.ts";
import { View } from "./view.ts";

export interface DriverParts {
  readonly openLink: OpenLink;
  readonly now: () => number;
  /** Called at each change of what the driver shows. */
  readonly changed: () => void;
  /** null: there are no uploads. */
  readonly uploads: UploadSource | null;
  /** The driver will never have what it waits for. */
  readonly fail: (reason: string) => void;
  /** Lines of its log once it has ended, as far as they are kept. */
  readonly keptLog: (from: number, lines: number) => Promise<readonly string[]>;
}

/** How a workload ended. */
export type EndedPhase = Extract<WorkloadPhase, { phase: "ended" }>;

/** A driver that is to go is waited for so long before it is told, and by it for its links. */
const LAST_WORDS_MS = 1_000;
const READ_LIMIT_BYTES = 8 * 1024 * 1024;

/** One driver: the workload that carries it, the link to it and the fold of what it said. Nothing here survives only in memory. */
export class Driver {
  readonly view = new View();
  readonly log: SessionLog;
  readonly #claim: Claim;
  readonly #parts: DriverParts;
  readonly #subscribers: Subscribers;
  readonly #closing = new AbortController();
  readonly #delivery: Delivery;
  readonly #refused: RefusedExecutors;
  #workload: Workload | null = null;
  #link: DriverLink | null = null;
  #phase: WorkloadPhase = { phase: "pending", reason: "" };
  #linkRefused: string | null = null;
  /** Why there is no connection to the driver; null while there is one, or nothing was tried. */
  #linkDown: string | null = null;
  /** The driver's last record when it was reached; null before that. */
  #headSeq: number | null = null;
  #caughtUp = false;
  #end: SessionEnd | null;
  #keeping: Promise<void> | null = null;
  /** The life of the supervisor that is followed, and the protocol's version it speaks. */
  #hello: { readonly epoch: string; readonly version: number } | null = null;

  constructor(claim: Claim, parts: DriverParts) {
    this.#claim = claim;
    this.#parts = parts;
    this.#end = claim.end;
    this.#refused = new RefusedExecutors(parts.now);
    this.#subscribers = new Subscribers((fromSeq, signal) => this.#read(fromSeq, signal));
    this.log = new SessionLog(claim, this.view, {
      ask: (fromLine, lines, signal) => this.#askLog(fromLine, lines, signal),
      tidings: () => this.tidings,
    });
    this.#delivery = new Delivery(claim.spec, {
      source: parts.uploads,
      request: (name, body, signal) => this.request(name, body, signal),
      changed: parts.changed,
      fail: parts.fail,
      signal: this.#closing.signal,
    });
    if (claim.end !== null) this.#phase = { phase: "ended", ...claim.end };
  }

  get phase(): WorkloadPhase {
    return this.#phase;
  }
  /** Whether requests can be sent at once. */
  get up(): boolean {
    return this.#link?.up === true;
  }
  /** Why it can never be spoken to; null while it can. */
  get refused(): string | null {
    return this.#linkRefused;
  }
  /** One life of its supervisor; null before it was reached. */
  get epoch(): string | null {
    return this.#hello?.epoch ?? null;
  }
  /** The protocol's version that it speaks; 0 before it was reached. */
  get protocolVersion(): number {
    return this.#hello?.version ?? 0;
  }
  /** Whether its past has been folded: before that, what is not known may be there all the same. */
  get caughtUp(): boolean {
    return this.#caughtUp;
  }
  /** Whether nothing of its past is to come any more. */
  get knowsPast(): boolean {
    return this.#caughtUp || this.#end !== null || this.#linkRefused !== null;
  }

  /** What the log says at its end that no driver wrote. */
  get tidings(): readonly string[] {
    const { application } = this.#claim.spec;
    if (this.#end !== null) return [`${application === undefined ? "Session" : "Batch"} ended (${this.#end.state}): ${this.#end.reason}`];
    if (this.#linkRefused !== null) return [`The driver cannot be spoken to: ${this.#linkRefused}`];
    const phase = this.#phase;
    if (phase.phase === "pending") return phase.reason === "" ? [] : [phase.reason];
    const down = this.#linkDown === null ? [] : [`The driver does not answer and is called again: ${this.#linkDown}`];
    const troubles = [this.#delivery.trouble, phase.phase === "running" ? (phase.trouble ?? null) : null, this.#refused.standing];
    return [...down, ...troubles.filter((trouble) => trouble !== null)];
  }

  /** Says why its workload is not begun yet. */
  waits(reason: string): void {
    this.#setPhase({ phase: "pending", reason });
    this.#parts.changed();
  }

  /** Follows the workload until its end, which it answers once all is folded that the driver said; null: it was let go of. */
  async follow(workload: Workload): Promise<EndedPhase | null> {
    this.#workload = workload;
    this.#setPhase(workload.phase);
    this.#linkRefused = workload.mute;
    const following = [];
    if (workload.mute === null) {
      const { key } = workload;
      this.#link = workload.link?.() ?? this.#parts.openLink({ session: this.#claim.uid, key, dial: (signal) => workload.dial(signal) });
      following.push(this.#followLink(this.#link).catch((error: unknown) => this.#giveUp(error)));
    }
    const ended = await this.#followWorkload(workload);
    await Promise.all(following);
    await this.#keeping;
    return ended;
  }

  /** Has it end; resolves when nothing of it is left. Does nothing for one that was not begun. */
  async stop(state: "dead" | "killed" | "success", reason: string, graceMs: number): Promise<void> {
    if (this.#workload === null) return;
    await this.#keepLog();
    if (this.up) await this.request("close", { state, reason }, AbortSignal.timeout(LAST_WORDS_MS)).catch(() => undefined);
    await this.#workload.stop(graceMs);
  }

  /** How it ended is written down: whoever follows it comes to the end. */
  conclude(end: SessionEnd): void {
    this.#end = end;
    this.#phase = { phase: "ended", ...end };
    this.log.conclude(end);
    this.#subscribers.end();
  }

  /** Lets go of it without ending it. Idempotent. */
  async detach(): Promise<void> {
    this.#closing.abort(new Problem("DRAINING", "The server is shutting down."));
    await this.#link?.close();
  }

  /** @throws Problem SESSION_ENDED when there is no driver, else as DriverLink does */
  request<Name extends RequestName>(name: Name, body: RequestBody<Name>, signal: AbortSignal): Promise<ReplyResult<Name>> {
    if (this.#link === null) return Promise.reject(new Problem("SESSION_ENDED", `Session is in state ${this.#end?.state ?? "starting"}`));
    return this.#link.request(name, body, signal);
  }

  /** Says that somebody looked; forgotten when it cannot be said. */
  touch(client: string): void {
    this.request("touch", { client }, this.#closing.signal).catch(() => undefined);
  }

  /** A connection to a place in the driver; null when there is no driver. */
  forward(to: ForwardPlace, signal: AbortSignal): Promise<Duplex> | null {
    return this.#link === null || this.#end !== null ? null : this.#link.forward(to, signal);
  }

  /** What every server of this session makes of a text, and nobody else: base64url. Empty when there is no driver. */
  seal(text: string): string {
    return this.#workload === null || this.#end !== null ? "" : createHmac("sha256", this.#workload.seal).update(text).digest("base64url");
  }

  /** Its records after a position, then each as it comes; "reset" when the past is another one. */
  records(afterSeq: number, signal: AbortSignal): AsyncIterable<RecordFrame | "reset"> {
    return this.#subscribers.follow(afterSeq, this.view.lastSeq, signal);
  }

  async #followLink(link: DriverLink): Promise<void> {
    let told = false;
    for await (const event of link.events()) {
      this.#fold(event);
      if (event.type === "reset") {
        // Another supervisor's past: what it holds is known only when its records have come.
        told = true;
        this.#caughtUp = false;
      }
      this.#caughtUp ||= told && this.view.lastSeq >= (this.#headSeq ?? 0);
      this.#parts.changed();
    }
  }

  /** What it says cannot be followed, a fault of ours: the others' sessions go on, and this one can be ended. */
  #giveUp(error: unknown): void {
    const reason = `what it says cannot be followed: ${error instanceof Error ? error.message : String(error)}`;
    this.#linkRefused = reason;
    publishSession({ session: this.#claim.id, event: "fault", detail: reason });
    this.#parts.changed();
    void this.#link?.close();
  }

  #fold(event: LinkEvent): void {
    const session = this.#claim.id;
    switch (event.type) {
      case "records": {
        const records = event.records.map(passable);
        for (const record of records) this.#apply(record);
        if (this.view.ending !== null) void this.#keepLog();
        this.#subscribers.publish(records, event.bytes);
        return;
      }
      case "reset":
        this.view.reset(event.snapshot, event.firstSeq);
        this.#subscribers.reset();
        publishSession({ session, event: "reset", detail: "the driver's supervisor is another one" });
        return;
      case "up":
        this.#linkDown = null;
        this.#headSeq = event.hello.lastSeq;
        this.#hello = event.hello;
        this.#delivery.begin(event.hello.version);
        publishSession({ session, event: "link-up", detail: event.hello.epoch });
        return;
      case "down":
        this.#linkDown = event.reason;
        publishSession({ session, event: "link-down", detail: event.reason });
        return;
      case "refused":
        this.#linkRefused = event.reason;
        publishSession({ session, event: "fault", detail: event.reason });
    }
  }

  #apply(record: RecordFrame): void {
    this.view.apply(record);
    // What is told of the past was so then.
    if (record.type === "log" && this.#caughtUp) this.#refused.heard(record.lines);
  }

  async #followWorkload(workload: Workload): Promise<EndedPhase | null> {
    for await (const phase of workload.phases(this.#closing.signal)) {
      if (phase.phase === "ended") {
        // What the driver said last is still on the link; it closes by itself, the socket's other end being gone.
        await this.#link?.close();
        return phase;
      }
      this.#setPhase(phase);
      this.#parts.changed();
    }
    return null;
  }

  #setPhase(phase: WorkloadPhase): void {
    this.#phase = phase;
    if (phase.phase === "pending") this.log.launching(phase.reason);
  }

  /** The driver is about to go: what its log shall be remembered by is fetched, once. */
  #keepLog(): Promise<void> {
    this.#keeping ??= this.log.keep(AbortSignal.timeout(LAST_WORDS_MS));
    return this.#keeping;
  }

  async #askLog(fromLine: number, lines: number, signal: AbortSignal): Promise<ReplyResult<"log">> {
    if (this.#end !== null) {
      // What is not kept are the first ones.
      const kept = await this.#parts.keptLog(fromLine, lines);
      return { fromLine: fromLine + lines - kept.length, total: 0, lines: [...kept] };
    }
    if (!this.up) return { fromLine, total: 0, lines: [] };
    return this.request("log", { fromLine, lines }, signal);
  }

  async #read(fromSeq: number, signal: AbortSignal): Promise<{ records: readonly RecordFrame[]; nextSeq: number }> {
    const page = await this.request("read", { fromSeq, toSeq: this.view.lastSeq, limitBytes: READ_LIMIT_BYTES }, signal);
    // Checked border: the link validated the reply, records of later versions are passed on as they are.
    return { records: (page.records as RecordFrame[]).map(passable), nextSeq: page.nextSeq };
  }
}
