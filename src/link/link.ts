import type { Duplex } from "node:stream";
import type { Static, TSchema } from "typebox";
import { Compile } from "typebox/compile";
import type { DriverLink, ForwardPlace, LinkEvent, LinkOptions } from "../core/ports.ts";
import { Problem, type ProblemCode } from "../core/problems.ts";
import { encodeFrame, FrameChannel, WireError, type WireFrame } from "../protocol/codec.ts";
import {
  Failure,
  FRAME_LIMIT_BYTES,
  type Hello,
  REQUEST_SINCE,
  type RecordFrame,
  Records,
  Replies,
  Reply,
  type ReplyResult,
  type RequestBody,
  type RequestName,
} from "../protocol/frames.ts";
import { EventQueue } from "./event-queue.ts";
import { openForward } from "./forward.ts";
import { HandshakeRefused, handshake } from "./handshake.ts";
import { Liveness } from "./liveness.ts";
import { Backoff, pause, within } from "./retry.ts";

/** Times and bounds of a link; tests shorten them. */
export const LINK_TUNING = {
  /** Until a dialled connection is there. */
  dialMs: 15_000,
  /** Until challenge, proof and hello are through. */
  handshakeMs: 10_000,
  /** See Liveness. */
  quietMs: 15_000,
  waitingQuietMs: 3_000,
  answerMs: 10_000,
  firstPauseMs: 20,
  pauseLimitMs: 2_000,
  /** A connection that lived so long was a good one: the next pauses are short again. */
  steadyMs: 5_000,
  /** Connections in a row that broke the protocol without one new record; after so many the link is refused for good. */
  strikes: 3,
  /** Events not yet taken by the core may hold about so much; then the socket is not read. */
  eventsLimitBytes: 8 * 1024 * 1024,
  /** Requests without an answer may hold so many characters: two of the largest. */
  requestsLimitChars: 2 * FRAME_LIMIT_BYTES,
  /** What a driver that is going sent last is read for so long when the link is closed. */
  lastWordsMs: 500,
};
export type LinkTuning = typeof LINK_TUNING;

/**
 * Which requests may be sent again after a loss: `submit`, `cell` and `comm` are keyed, the others change nothing or end in the same state. A second
 * `cancel` takes the next rung, and to interrupt, answer or restart twice is not to do it once.
 */
const REPEATABLE = {
  attach: false,
  read: true,
  submit: true,
  cancel: false,
  interrupt: false,
  complete: true,
  inspect: true,
  answer: false,
  touch: true,
  restart: false,
  close: true,
  ping: true,
  upload: true,
  cell: true,
  comm: true,
  comms: true,
  parse: true,
  forward: false,
  awaited: true,
  supply: true,
  log: true,
} as const satisfies Record<RequestName, boolean>;

/** Requests that may be long; all others go before them. */
const BULKY: ReadonlySet<RequestName> = new Set(["submit", "cell", "comm", "upload", "supply"]);

/** The words of a driver's `failure` as Problems; any other word is DRIVER_UNREACHABLE. */
const FAILURE_PROBLEMS = new Map<string, ProblemCode>([
  ["invalid", "INVALID"],
  ["full", "TOO_MANY_STATEMENTS"],
  ["gone", "STATEMENT_NOT_FOUND"],
  ["ending", "SESSION_ENDED"],
]);

/** Opens a link: dials at once, and again after each loss, until it is closed or refused. Is core's `OpenLink`. */
export const openLink = (options: LinkOptions, tuning: Partial<LinkTuning> = {}): DriverLink =>
  new Link(options, { ...LINK_TUNING, ...tuning });

interface OpenRequest {
  readonly name: RequestName;
  readonly text: string;
  /** Whether it was sent on the connection there is. */
  sent: boolean;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

class Link implements DriverLink {
  readonly #options: LinkOptions;
  readonly #tuning: LinkTuning;
  readonly #closing = new AbortController();
  readonly #events: EventQueue<LinkEvent>;
  readonly #running: Promise<void>;
  /** Requests without an answer, oldest first; a request keeps its number on the next connection. */
  readonly #requests = new Map<number, OpenRequest>();
  #requestChars = 0;
  #nextRequest = 1;
  #refused: string | null = null;
  /** What was said last of why there is no connection. */
  #downReason: string | null = null;
  #connection: { readonly channel: FrameChannel; readonly liveness: Liveness; readonly version: number; attached: boolean } | null = null;
  /** The life that is followed, and its last record that was taken. */
  #epoch: string | null = null;
  #seq = 0;
  /** Read since records were queued last: the frames of one record come in many reads. */
  #readBytes = 0;

  constructor(options: LinkOptions, tuning: LinkTuning) {
    this.#options = options;
    this.#tuning = tuning;
    this.#events = new EventQueue(tuning.eventsLimitBytes, {
      full: () => this.#connection?.channel.pause(),
      free: () => this.#connection?.channel.resume(),
    });
    this.#running = this.#run();
  }

  get up(): boolean {
    return this.#connection !== null;
  }

  events(): AsyncIterable<LinkEvent> {
    return this.#events;
  }

  async request<Name extends RequestName>(name: Name, body: RequestBody<Name>, signal: AbortSignal): Promise<ReplyResult<Name>> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const request = this.#open(name, body, resolve, reject);
    const leave = () => {
      this.#forget(request);
      reject(signal.reason);
    };
    signal.addEventListener("abort", leave, { once: true });
    try {
      // Checked border: #answer resolves only with what the request's own schema in Replies accepted.
      return (await promise) as ReplyResult<Name>;
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }

  forward(to: ForwardPlace, signal: AbortSignal): Promise<Duplex> {
    return openForward(this.#options, to, signal);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#rejectAll("the link to the driver was closed");
    await this.#running;
  }

  // ── Life: dial, prove, attach, serve; and again ────────────────────────────────────────────────────────────────────────────

  async #run(): Promise<void> {
    const { firstPauseMs, pauseLimitMs, steadyMs, strikes } = this.#tuning;
    const { signal } = this.#closing;
    const pauses = new Backoff(firstPauseMs, pauseLimitMs);
    let broken = 0;
    while (!signal.aborted) {
      const [seq, startedMs] = [this.#seq, performance.now()];
      const error = await this.#connect(signal);
      const protocol = error instanceof WireError || error instanceof HandshakeRefused;
      broken = protocol && this.#seq === seq ? broken + 1 : 0;
      if (protocol && (broken >= strikes || (error instanceof HandshakeRefused && error.code === "version"))) {
        this.#refused = error.message;
        this.#rejectAll(error.message);
        this.#events.push({ type: "refused", reason: error.message }, 0);
        break;
      }
      if (!signal.aborted) this.#down(error.message);
      if (performance.now() - startedMs > steadyMs) pauses.reset();
      await pause(pauses.next(), signal);
    }
    this.#events.end();
  }

  /** Told once for each reason: there may be many attempts before the next connection. */
  #down(reason: string): void {
    if (reason === this.#downReason) return;
    this.#downReason = reason;
    this.#events.push({ type: "down", reason }, 0);
  }

  /** One connection from dial to end; why it ended. */
  async #connect(signal: AbortSignal): Promise<Error> {
    const { dialMs, handshakeMs } = this.#tuning;
    let channel: FrameChannel | null = null;
    try {
      const opened = new FrameChannel(await within(dialMs, "dialling the driver took too long", signal, this.#options.dial));
      channel = opened;
      const late = "the driver's handshake took too long";
      const hello = await within(handshakeMs, late, signal, (soon) => handshake(opened, this.#options, soon));
      return await this.#serve(opened, hello, signal);
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    } finally {
      await channel?.close();
    }
  }

  async #serve(channel: FrameChannel, hello: Hello, signal: AbortSignal): Promise<Error> {
    signal.throwIfAborted();
    const liveness = new Liveness(this.#tuning, {
      waiting: () => this.#requests.size > 0,
      deaf: () => this.#events.full,
      ask: () => this.#ping(channel, hello.version),
      dead: () => void channel.close(new Error("the driver does not answer: the connection is given up")),
    });
    this.#connection = { channel, liveness, version: hello.version, attached: false };
    this.#downReason = null;
    this.#readBytes = 0;
    this.#events.push({ type: "up", hello }, 0);
    const lastWords = () => void channel.finish(this.#tuning.lastWordsMs);
    signal.addEventListener("abort", lastWords, { once: true });
    const ended = new Promise<Error>((resolve) => {
      channel.receive({
        frames: (frames, bytes) => {
          liveness.heard();
          this.#take(frames, bytes);
        },
        ended: (error) => resolve(error ?? new Error("the driver closed the connection")),
      });
    });
    // The core is as slow as it was on the connection before.
    if (this.#events.full) channel.pause();
    this.#attach(channel, hello);
    // What waited for the link follows without waiting for the attach's answer.
    for (const [number, request] of this.#requests) if (!request.sent) this.#send(number, request);

    const error = await ended;
    signal.removeEventListener("abort", lastWords);
    liveness.close();
    this.#connection = null;
    for (const [number, request] of this.#requests) {
      request.sent = false;
      if (!REPEATABLE[request.name]) {
        this.#forget(number);
        request.reject(unreachable(`the link to the driver broke before it answered (${request.name}): ${error.message}`));
      }
    }
    this.#down(error.message);
    return error;
  }

  // ── Out ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #open<Name extends RequestName>(
    name: Name,
    body: RequestBody<Name>,
    resolve: OpenRequest["resolve"],
    reject: OpenRequest["reject"],
  ): number {
    if (this.#refused !== null) throw unreachable(this.#refused);
    if (this.#closing.signal.aborted) throw unreachable("the link to the driver was closed");
    const number = this.#nextRequest;
    const text = encodeFrame({ ...body, frame: name, request: number });
    if (3 * text.length > FRAME_LIMIT_BYTES && Buffer.byteLength(text) > FRAME_LIMIT_BYTES)
      throw new Problem("TOO_LARGE", `The request is longer than the ${FRAME_LIMIT_BYTES} bytes that a driver takes.`);
    if (this.#requestChars + text.length > this.#tuning.requestsLimitChars)
      throw new Problem("TOO_MANY_STATEMENTS", "Too much is waiting to be sent to the driver.");
    this.#nextRequest += 1;
    this.#requestChars += text.length;
    const request: OpenRequest = { name, text, sent: false, resolve, reject };
    this.#requests.set(number, request);
    this.#send(number, request);
    return number;
  }

  /** Nothing while the link is down: what waits is sent when it is up again. */
  #send(number: number, request: OpenRequest): void {
    if (this.#connection === null) return;
    const since = REQUEST_SINCE[request.name] ?? 1;
    if (this.#connection.version < since) {
      this.#forget(number);
      request.reject(
        new Problem("NOT_SUPPORTED", `The driver was started by an older release that knows no ${request.name}: a new session can.`),
      );
      return;
    }
    request.sent = true;
    this.#connection.channel.send(request.text, BULKY.has(request.name) ? "bulk" : "control");
    this.#connection.liveness.expecting();
  }

  #forget(number: number): void {
    this.#requestChars -= this.#requests.get(number)?.text.length ?? 0;
    this.#requests.delete(number);
  }

  #rejectAll(reason: string): void {
    for (const [number, request] of this.#requests) {
      this.#forget(number);
      request.reject(unreachable(reason));
    }
  }

  /** A driver of version 1 is asked for no lines of its log, which is answered as readily. */
  #ping(channel: FrameChannel, version: number): void {
    const question = version === 1 ? { frame: "log", fromLine: 0, lines: 0 } : { frame: "ping" };
    channel.send(encodeFrame({ ...question, request: this.#nextRequest }), "control");
    this.#nextRequest += 1;
  }

  #attach(channel: FrameChannel, hello: Hello): void {
    const taken = (result: unknown) => {
      // Checked border: #answer has checked it against Replies.attach.
      const { mode, snapshot } = result as ReplyResult<"attach">;
      if (mode === "reset") {
        if (snapshot === null) throw new WireError("a reset without a snapshot");
        this.#epoch = hello.epoch;
        this.#seq = hello.firstSeq - 1;
        this.#events.push({ type: "reset", snapshot, firstSeq: hello.firstSeq }, 0);
      } else if (hello.epoch !== this.#epoch) throw new WireError("a replay of another epoch");
      if (this.#connection !== null) this.#connection.attached = true;
    };
    this.#open(
      "attach",
      { epoch: this.#epoch, afterSeq: this.#seq },
      taken,
      (error) => void channel.close(error instanceof Error ? error : null),
    );
  }

  // ── In ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The frames of one read. Their records become one event, so that folding them is one turn. */
  #take(frames: readonly WireFrame[], bytes: number): void {
    const records: RecordFrame[] = [];
    this.#readBytes += bytes;
    try {
      for (const frame of frames) {
        if (frame.frame === "record") this.#record(frame, records);
        else if (frame.frame === "reply" || frame.frame === "failure") this.#answer(frame);
        // Any other frame is of a later version.
      }
    } finally {
      // Those before a malformed one count as taken.
      if (records.length > 0) {
        this.#events.push({ type: "records", records, bytes: this.#readBytes }, this.#readBytes);
        this.#readBytes = 0;
      }
    }
  }

  #record(frame: WireFrame, records: RecordFrame[]): void {
    const { seq, type } = frame;
    if (typeof seq !== "number" || typeof type !== "string") throw new WireError("a malformed record");
    if (this.#connection?.attached !== true) throw new WireError("a record before the answer to attach");
    if (seq <= this.#seq) return;
    if (Object.hasOwn(Records, type)) {
      // Checked border: the schema of the record's own type accepted it.
      const known = type as keyof typeof Records;
      if (!validator(Records[known]).Check(frame)) throw new WireError(`record ${seq} (${type}) is malformed`);
      records.push(frame as unknown as RecordFrame);
    }
    this.#seq = seq;
  }

  #answer(frame: WireFrame): void {
    if (validator(Reply).Check(frame)) {
      const request = this.#requests.get(frame.request);
      if (request === undefined) return;
      if (!validator(Replies[request.name]).Check(frame.result)) throw new WireError(`the reply to ${request.name} is malformed`);
      this.#forget(frame.request);
      request.resolve(frame.result);
    } else if (validator(Failure).Check(frame)) {
      const request = this.#requests.get(frame.request);
      this.#forget(frame.request);
      request?.reject(new Problem(FAILURE_PROBLEMS.get(frame.code) ?? "DRIVER_UNREACHABLE", frame.message));
    } else throw new WireError(`a malformed ${frame.frame}`);
  }
}

const unreachable = (reason: string): Problem => new Problem("DRIVER_UNREACHABLE", `The driver cannot be reached: ${reason}.`);

interface Checked<Schema extends TSchema> {
  Check(value: unknown): value is Static<Schema>;
}

/** Compiled when a schema's first frame comes; compiling all of them would slow the server's start. */
const VALIDATORS = new WeakMap<TSchema, Checked<TSchema>>();
const validator = <Schema extends TSchema>(schema: Schema): Checked<Schema> => {
  const known = VALIDATORS.get(schema) ?? Compile(schema);
  VALIDATORS.set(schema, known);
  // Checked border: what is kept under a schema was compiled from it.
  return known as Checked<Schema>;
};
