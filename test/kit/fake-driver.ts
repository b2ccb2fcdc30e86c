import { createHmac, randomBytes, randomUUID } from "node:crypto";
import type { Server } from "node:http";
import { type Duplex, duplexPair } from "node:stream";
import { encodeFrame, FrameChannel, type WireFrame } from "../../src/protocol/codec.ts";
import { PROTOCOL_VERSIONS, proofText, type RequestName, type Snapshot } from "../../src/protocol/frames.ts";

/** What a handler gives back: a reply's result, a failure, or nothing at all. */
export type Answer = { result: unknown } | { code: string; message: string } | null;
type Handler = (request: WireFrame, connection: FakeConnection) => Answer;

export const EMPTY_SNAPSHOT: Snapshot = {
  statements: [],
  nextStatement: 0,
  interpreter: "ready",
  facts: null,
  logTotal: 0,
  logTail: [],
};

/**
 * A driver that speaks the wire in this process, for bytes and timings that the real one cannot be made to send. It keeps records,
 * replays and resets by the rules, runs nothing, and can be told to lie, to fall silent and to hang up.
 */
export class FakeDriver {
  readonly session: string;
  readonly key: Uint8Array;
  versions: number[] = [...PROTOCOL_VERSIONS];
  epoch = "epoch-1";
  firstSeq = 1;
  snapshot: Snapshot = EMPTY_SNAPSHOT;
  /** Whether it can be dialled. */
  listening = true;
  /** While true it reads and answers nothing, as after a cable was cut. */
  silent = false;
  readonly connections: FakeConnection[] = [];
  /** Every request it understood, in order, without pings. */
  readonly requests: WireFrame[] = [];
  pings = 0;
  dials = 0;
  /** What answers as Spark's UI; null: nothing does. */
  ui: Server | null = null;
  readonly statements = new Map<string, number>();
  #records: { seq: number; [field: string]: unknown }[] = [];
  #handlers = new Map<string, Handler>();

  constructor(session: string = randomUUID(), key: Uint8Array = randomBytes(32)) {
    this.session = session;
    this.key = key;
  }

  get lastSeq(): number {
    return this.#records.at(-1)?.seq ?? this.firstSeq - 1;
  }

  readonly dial = async (signal: AbortSignal): Promise<Duplex> => {
    signal.throwIfAborted();
    this.dials += 1;
    if (!this.listening) throw new Error("connect ECONNREFUSED");
    const [ours, theirs] = duplexPair();
    this.accept(ours);
    // What node:http asks of a socket that it keeps.
    return Object.assign(theirs, {
      ref: () => undefined,
      unref: () => undefined,
      setKeepAlive: () => undefined,
      setTimeout: () => undefined,
    });
  };

  /** Speaks on a connection that somebody else listened for. */
  accept(duplex: Duplex): void {
    this.connections.push(new FakeConnection(this, duplex));
  }

  get connection(): FakeConnection {
    const connection = this.connections.at(-1);
    if (connection === undefined) throw new Error("nobody has dialled");
    return connection;
  }

  /** Numbers a record, keeps it, sends it to whoever is attached. */
  emit(type: string, fields: object): void {
    const record = { frame: "record", seq: this.lastSeq + 1, atMs: Date.now(), type, ...fields };
    this.#records.push(record);
    for (const connection of this.connections) if (connection.attached) connection.send(record, "bulk");
  }

  log(...lines: string[]): void {
    this.emit("log", { line: 0, lines });
  }

  /** Another life: a new epoch that keeps the journal but for records before `firstSeq`. */
  restart(epoch: string, firstSeq = this.firstSeq): void {
    this.cut();
    this.epoch = epoch;
    this.firstSeq = firstSeq;
    this.#records = this.#records.filter((record) => record.seq >= firstSeq);
  }

  /** Hangs up on everybody. */
  cut(): void {
    for (const connection of this.connections.splice(0)) void connection.channel.close();
  }

  /** Answers this request otherwise from now on. */
  on(name: RequestName, handler: Handler): void {
    this.#handlers.set(name, handler);
  }

  take(request: WireFrame, connection: FakeConnection): void {
    if (request.frame === "ping" || (request.frame === "log" && request["lines"] === 0)) this.pings += 1;
    else this.requests.push(request);
    const answer = (this.#handlers.get(request.frame) ?? this.#standard)(request, connection);
    if (answer === null) return;
    const number = request["request"];
    if (request.frame === "forward" && "result" in answer && this.ui !== null) return connection.join(Number(number), this.ui);
    connection.send("result" in answer ? { frame: "reply", request: number, ...answer } : { frame: "failure", request: number, ...answer });
    if (request.frame !== "attach" || connection.attached) return;
    connection.attached = true;
    const after = "result" in answer && isReplay(answer.result) ? Number(request["afterSeq"]) : this.firstSeq - 1;
    for (const record of this.#records) if (record.seq > after) connection.send(record, "bulk");
  }

  readonly #standard: Handler = (request) => {
    switch (request.frame) {
      case "attach": {
        const after = Number(request["afterSeq"]);
        const follows = request["epoch"] === this.epoch && this.firstSeq - 1 <= after && after <= this.lastSeq;
        return { result: follows ? { mode: "replay", snapshot: null } : { mode: "reset", snapshot: this.snapshot } };
      }
      case "submit": {
        const key = String(request["key"]);
        const statement = this.statements.get(key) ?? this.statements.size;
        this.statements.set(key, statement);
        return { result: { statement } };
      }
      case "forward":
        return this.ui === null ? { code: "unavailable", message: "Spark's UI does not take connections: refused." } : { result: {} };
      case "log":
        return { result: { fromLine: 0, total: 0, lines: [] } };
      case "cancel":
        return { result: { state: "cancelling" } };
      case "upload":
        return { result: { path: request["last"] === true ? `/driver/${String(request["name"])}` : null } };
      case "read": {
        const [from, to] = [Number(request["fromSeq"]), Number(request["toSeq"])];
        const records = this.#records.filter(({ seq }) => from <= seq && seq <= to);
        return { result: { records, nextSeq: to + 1 } };
      }
      case "interrupt":
        return { result: { statement: null } };
      case "complete":
        return { result: { matches: [], start: 0, end: 0, metadata: {} } };
      default:
        return { result: {} };
    }
  };
}

const isReplay = (result: unknown): boolean =>
  typeof result === "object" && result !== null && "mode" in result && result.mode === "replay";

/** One connection of a FakeDriver. */
export class FakeConnection {
  readonly channel: FrameChannel;
  readonly #driver: FakeDriver;
  readonly #duplex: Duplex;
  readonly #nonce = randomBytes(32).toString("base64url");
  attached = false;
  /** What the server proved itself with. */
  prove: WireFrame | null = null;
  closed = false;

  constructor(driver: FakeDriver, duplex: Duplex) {
    this.#driver = driver;
    this.#duplex = duplex;
    this.channel = new FrameChannel(duplex);
    this.channel.receive({
      frames: (frames) => {
        for (const frame of frames) if (!this.#driver.silent) this.#take(frame);
      },
      ended: () => {
        this.closed = true;
      },
    });
    if (!driver.silent) this.send({ frame: "challenge", versions: driver.versions, nonce: this.#nonce });
  }

  send(frame: object, lane: "control" | "bulk" = "control"): void {
    if (!this.#driver.silent) this.channel.send(encodeFrame(frame), lane);
  }

  /** Answers, and is one with the UI from then on. */
  join(request: number, ui: Server): void {
    this.channel.release();
    this.#duplex.write(`${JSON.stringify({ frame: "reply", request, result: {} })}\n`);
    ui.emit("connection", this.#duplex);
    this.#duplex.resume();
  }

  /** Bytes as they are. */
  raw(bytes: string | Uint8Array): void {
    this.#duplex.write(bytes);
  }

  #take(frame: WireFrame): void {
    if (frame.frame === "prove") this.#hello(frame);
    else if (this.prove !== null) this.#driver.take(frame, this);
  }

  #hello(prove: WireFrame): void {
    this.prove = prove;
    const { session, versions, epoch, firstSeq, lastSeq, key } = this.#driver;
    const version = Number(prove["version"]);
    const facts = { versions, version, session, driverNonce: this.#nonce, serverNonce: String(prove["nonce"]) };
    const sign = (role: "server" | "driver") => createHmac("sha256", key).update(proofText(role, facts)).digest("base64url");
    if (prove["proof"] !== sign("server") || prove["session"] !== session) {
      this.send({ frame: "refused", code: "proof", message: "wrong proof" });
      queueMicrotask(() => this.#duplex.end());
      return;
    }
    this.channel.trust();
    this.send({ frame: "hello", version, session, epoch, firstSeq, lastSeq, proof: sign("driver") });
  }
}
