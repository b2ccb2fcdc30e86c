import type { Duplex } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import type { DriverLink, ForwardPlace, LinkEvent } from "../../core/ports.ts";
import { Problem } from "../../core/problems.ts";
import type { RecordFrame, ReplyResult, RequestName } from "../../protocol/frames.ts";
import type { Api } from "./api.ts";
import type { NumberedLines } from "./log-end.ts";
import { readWholeLog, type SessionPlace } from "./session-objects.ts";

/** What stands for a link where a driver has no supervisor. */
export interface PodLinkParts {
  readonly place: SessionPlace;
  /** A connection to Spark's UI in the driver's pod. Rejects when there is none to be had. */
  dialUi(signal: AbortSignal): Promise<Duplex>;
}

/** What is known of a driver's Spark from outside. */
export interface SparkSight {
  readonly appId: string | null;
  readonly uiUrl: string | null;
}

const FIRST_PAUSE_MS = 500;
const PAUSE_LIMIT_MS = 10_000;
/** A log that was read whole is good for so long: whoever reads it reads page by page. */
const REMEMBERED_MS = 5_000;
const NO_SUPERVISOR = "The Spark Operator runs this batch: its driver has no supervisor of ours.";

/**
 * What a driver writes, as Kubernetes has it, in a link's words: records of its log, numbered from its first line on, and what is known of
 * its Spark. Nothing can be asked of such a driver but its log and its UI.
 */
export class PodLink implements DriverLink {
  readonly #parts: PodLinkParts;
  readonly #closing = new AbortController();
  readonly #records: RecordFrame[] = [];
  #woken = Promise.withResolvers<void>();
  #taken = Promise.withResolvers<void>();
  #reading: Promise<void> | null = null;
  #container: string | undefined;
  #seq = 0;
  /** Lines told so far. */
  #lines = 0;
  /** When the last of them was written, as Kubernetes has it. */
  #lastAt = "";
  #told: SparkSight = { appId: null, uiUrl: null };
  #whole: { readonly atMs: number; readonly told: number; readonly end: Promise<NumberedLines> } | null = null;

  constructor(parts: PodLinkParts) {
    this.#parts = parts;
  }

  get up(): boolean {
    return this.#reading !== null && !this.#closing.signal.aborted;
  }

  /** This container writes the log, and has begun to. */
  begin(container: string | undefined): void {
    this.#container = container;
    if (!this.#closing.signal.aborted) this.#reading ??= this.#read(this.#closing.signal);
  }

  /** What is known of its Spark by now. */
  tell(sight: SparkSight): void {
    if (sight.appId === this.#told.appId && sight.uiUrl === this.#told.uiUrl) return;
    this.#told = sight;
    const facts = { python: "", spark: "", sparkUser: null, ipython: null, ...sight };
    this.#push({ frame: "record", type: "interpreter", seq: this.#nextSeq(), atMs: Date.now(), phase: "ready", reason: null, facts });
  }

  async *events(): AsyncGenerator<LinkEvent> {
    for (;;) {
      const records = this.#records.splice(0);
      if (records.length > 0) {
        yield { type: "records", records, bytes: records.reduce((sum, record) => sum + sizeOf(record), 0) };
        continue;
      }
      this.#taken.resolve();
      if (this.#closing.signal.aborted) return;
      await this.#woken.promise;
      this.#woken = Promise.withResolvers<void>();
    }
  }

  async request<Name extends RequestName>(name: Name, body: object): Promise<ReplyResult<Name>> {
    if (name !== "log") throw new Problem("NOT_SUPPORTED", NO_SUPERVISOR);
    // Checked by the line before, which a generic name does not narrow.
    const { fromLine, lines } = body as { readonly fromLine: number; readonly lines: number };
    return (await this.#page(fromLine, lines)) as ReplyResult<Name>;
  }

  async forward(_to: ForwardPlace, signal: AbortSignal): Promise<Duplex> {
    try {
      return await this.#parts.dialUi(signal);
    } catch (cause) {
      signal.throwIfAborted();
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new Problem("DRIVER_UNREACHABLE", `Spark's UI cannot be reached: ${why}.`, { cause });
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the link was closed"));
    this.#woken.resolve();
    this.#taken.resolve();
    await this.#reading;
  }

  async #page(fromLine: number, count: number): Promise<ReplyResult<"log">> {
    const { place } = this.#parts;
    if (this.#whole === null || Date.now() - this.#whole.atMs > REMEMBERED_MS)
      this.#whole = { atMs: Date.now(), told: this.#lines, end: readWholeLog(place, this.#container, this.#closing.signal) };
    const { told, end } = this.#whole;
    const { from, lines } = await end;
    // What the node has let go of were the first ones.
    const held = Math.max(0, told - from - lines.length) + from;
    const first = Math.max(fromLine, held);
    return { fromLine: first, total: held + lines.length, lines: lines.slice(first - held, Math.max(0, fromLine + count - held)) };
  }

  /** Follows the log until the link is closed; where it was broken off it goes on. */
  async #read(signal: AbortSignal): Promise<void> {
    const { api, namespace, name } = this.#parts.place;
    const path = `api/v1/namespaces/${namespace}/pods/${name}/log`;
    for (let pauseMs = FIRST_PAUSE_MS; !signal.aborted; pauseMs = Math.min(2 * pauseMs, PAUSE_LIMIT_MS)) {
      const before = this.#lines;
      // Its end, its refusal and a lost connection are the same here: it is asked again for what follows.
      await this.#follow(api, path, signal).catch(() => undefined);
      if (this.#lines > before) pauseMs = FIRST_PAUSE_MS;
      await pause(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #follow(api: Api, path: string, signal: AbortSignal): Promise<void> {
    const query = {
      container: this.#container,
      follow: true,
      timestamps: true,
      ...(this.#lastAt === "" ? {} : { sinceTime: this.#lastAt }),
    };
    const since = this.#lastAt;
    for await (const stamped of api.lines(path, query, signal)) {
      const lines: string[] = [];
      for (const line of stamped) {
        const [stamp = "", at = ""] = /^(\d{4}-\S+) /.exec(line) ?? [];
        // What is not stamped Kubernetes says itself.
        if (at <= since) continue;
        this.#lastAt = at;
        lines.push(line.slice(stamp.length));
      }
      if (lines.length === 0) continue;
      this.#taken = Promise.withResolvers<void>();
      this.#push({ frame: "record", type: "log", seq: this.#nextSeq(), atMs: Date.now(), line: this.#lines, lines });
      this.#lines += lines.length;
      // Whoever folds it is not overtaken.
      if (!signal.aborted) await this.#taken.promise;
    }
  }

  #nextSeq(): number {
    this.#seq += 1;
    return this.#seq;
  }

  #push(record: RecordFrame): void {
    this.#records.push(record);
    this.#woken.resolve();
  }
}

const sizeOf = (record: RecordFrame): number => (record.type === "log" ? record.lines.reduce((sum, line) => sum + line.length, 0) : 0);
