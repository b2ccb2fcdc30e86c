import type { Duplex } from "node:stream";
import { FRAME_LIMIT_BYTES, PIECE_BYTES } from "./frames.ts";

/**
 * Frames over any Duplex: one JSON object a line, long ones cut into `part` frames, control before bulk. Both ends of the link can
 * use it; it knows nothing of what the frames mean.
 */

/** The longest line before the handshake is done. */
export const HANDSHAKE_LINE_BYTES = 4 * 1024;

/** The longest line after it: a piece of PIECE_BYTES, escaped once more as a JSON string (at most threefold). */
export const LINE_LIMIT_BYTES = 4 * PIECE_BYTES;

/** How many cut frames may be under way at once in one direction; either end sends two at most, one a lane. */
const OPEN_PARTS_LIMIT = 16;

/** What a piece counts for at least, so that empty and tiny ones cannot pile up. */
const PIECE_COST_BYTES = 1024;

/** One write holds about so many characters at most, so that a control frame is never further behind. */
const BATCH_CHARS = PIECE_BYTES;

/** What the peer sent cannot be a frame, or breaks a bound: the connection is of no more use. */
export class WireError extends Error {
  override readonly name = "WireError";
}

/** A JSON object with a `frame` field; its other fields are not checked yet. */
export interface WireFrame {
  readonly frame: string;
  readonly [field: string]: unknown;
}

const isWireFrame = (value: unknown): value is WireFrame =>
  typeof value === "object" && value !== null && !Array.isArray(value) && "frame" in value && typeof value.frame === "string";

const EMPTY = Buffer.alloc(0);
const NEWLINE = 0x0a;

/** Bytes in, frames out. Holds no more than one line and the open parts, both bounded. */
export class FrameParser {
  lineLimitBytes: number;
  readonly #frameLimitBytes: number;
  #held: Buffer = EMPTY;
  #heldBytes = 0;
  readonly #parts = new Map<number, string[]>();
  #partBytes = 0;

  constructor(lineLimitBytes = HANDSHAKE_LINE_BYTES, frameLimitBytes = FRAME_LIMIT_BYTES) {
    this.lineLimitBytes = lineLimitBytes;
    this.#frameLimitBytes = frameLimitBytes;
  }

  /**
   * The frames that these bytes complete, in order.
   * @throws WireError, after which the parser must not be used again.
   */
  push(chunk: Buffer): WireFrame[] {
    const frames: WireFrame[] = [];
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      const frame = this.#frame(this.#line(chunk.subarray(from, end)));
      if (frame !== null) frames.push(frame);
      from = end + 1;
    }
    if (from < chunk.length) this.#hold(chunk.subarray(from));
    return frames;
  }

  #line(rest: Buffer): string {
    if (this.#heldBytes === 0) {
      if (rest.length > this.lineLimitBytes) throw new WireError(`a line is longer than ${this.lineLimitBytes} bytes`);
      return rest.toString("utf8");
    }
    this.#hold(rest);
    const line = this.#held.toString("utf8", 0, this.#heldBytes);
    this.#heldBytes = 0;
    if (this.#held.length > HANDSHAKE_LINE_BYTES) this.#held = EMPTY;
    return line;
  }

  /** Copies, so that a peer who sends single bytes does not make us keep a buffer for each. */
  #hold(bytes: Buffer): void {
    const needed = this.#heldBytes + bytes.length;
    if (needed > this.lineLimitBytes) throw new WireError(`a line is longer than ${this.lineLimitBytes} bytes`);
    if (needed > this.#held.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#held.length, 256));
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    bytes.copy(this.#held, this.#heldBytes);
    this.#heldBytes = needed;
  }

  #frame(line: string): WireFrame | null {
    const frame = parseFrame(line);
    if (frame.frame !== "part") return frame;
    const { of, text, last } = frame;
    if (typeof of !== "number" || typeof text !== "string" || typeof last !== "boolean") throw new WireError("a malformed part");
    const pieces = this.#parts.get(of) ?? [];
    this.#partBytes += pieceCost(text);
    if (this.#partBytes > this.#frameLimitBytes) throw new WireError(`a frame is longer than ${this.#frameLimitBytes} bytes`);
    pieces.push(text);
    if (!last) {
      this.#parts.set(of, pieces);
      if (this.#parts.size > OPEN_PARTS_LIMIT) throw new WireError("too many frames in parts at once");
      return null;
    }
    this.#parts.delete(of);
    for (const piece of pieces) this.#partBytes -= pieceCost(piece);
    const whole = parseFrame(pieces.join(""));
    if (whole.frame === "part") throw new WireError("a part made of parts");
    return whole;
  }
}

const pieceCost = (text: string): number => Math.max(PIECE_COST_BYTES, Buffer.byteLength(text));

const parseFrame = (text: string): WireFrame => {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WireError("a line is not JSON", { cause });
  }
  if (!isWireFrame(value)) throw new WireError("a line is not a frame");
  return value;
};

/** A frame's JSON text, without newline. Lone surrogates become U+FFFD: not every JSON reader takes them. */
export const encodeFrame = (frame: object): string => {
  const text = JSON.stringify(frame);
  // JSON.stringify writes lone surrogates, and only those, as \udxxx; an escaped backslash before "ud…" is stepped over.
  return text.includes("\\ud")
    ? text.replace(/\\(?:ud[89a-f][0-9a-f]{2}|[\s\S])/g, (escaped) => (escaped.length > 2 ? "\\ufffd" : escaped))
    : text;
};

/** `control` goes first; `bulk` keeps its order among itself and may be cut. */
export type Lane = "control" | "bulk";

/** A frame too long for one line, cut as it is sent. */
class CutFrame {
  readonly #of: number;
  readonly #bytes: Buffer;
  #sent = 0;

  constructor(of: number, text: string) {
    this.#of = of;
    this.#bytes = Buffer.from(text);
  }

  get done(): boolean {
    return this.#sent === this.#bytes.length;
  }

  next(): string {
    let end = Math.min(this.#sent + PIECE_BYTES, this.#bytes.length);
    // Never within a character: step back over UTF-8's continuation bytes.
    while (end < this.#bytes.length && ((this.#bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
    const text = this.#bytes.toString("utf8", this.#sent, end);
    this.#sent = end;
    return JSON.stringify({ frame: "part", of: this.#of, text, last: this.done });
  }
}

/** First in, first out. An array's `shift` would move all that waits behind. */
class Fifo<Item> {
  #items: Item[] = [];
  #taken = 0;

  add(item: Item): void {
    this.#items.push(item);
  }

  get first(): Item | undefined {
    return this.#items[this.#taken];
  }

  /** Drops the first; its place is given back once half of the places are empty. */
  drop(): void {
    this.#taken += 1;
    if (2 * this.#taken < this.#items.length) return;
    this.#items = this.#items.slice(this.#taken);
    this.#taken = 0;
  }
}

/** Lines to be written, in the order they should go. Pure: what it holds is not yet written. */
export class SendQueue {
  readonly #lanes = { control: new Fifo<string | CutFrame>(), bulk: new Fifo<string | CutFrame>() } satisfies Record<Lane, unknown>;
  #nextCut = 1;

  /** @throws RangeError when the frame is longer than any peer would take. */
  add(text: string, lane: Lane): void {
    // A character takes three bytes at most: most frames need no count.
    const bytes = text.length * 3 <= PIECE_BYTES ? text.length : Buffer.byteLength(text);
    if (bytes > FRAME_LIMIT_BYTES) throw new RangeError(`a frame of ${bytes} bytes is over the limit`);
    if (bytes <= PIECE_BYTES) this.#lanes[lane].add(text);
    else {
      this.#lanes[lane].add(new CutFrame(this.#nextCut, text));
      this.#nextCut += 1;
    }
  }

  /** The lines of one write; the empty string when there is nothing to send. */
  batch(): string {
    let lines = "";
    while (lines.length < BATCH_CHARS) {
      const lane = this.#lanes.control.first === undefined ? this.#lanes.bulk : this.#lanes.control;
      const { first } = lane;
      if (first === undefined) break;
      lines += `${typeof first === "string" ? first : first.next()}\n`;
      if (typeof first === "string" || first.done) lane.drop();
    }
    return lines;
  }
}

export interface FrameReceiver {
  /** The frames of one read, in order, and how many bytes it had. An exception ends the channel with it. */
  frames(frames: readonly WireFrame[], bytes: number): void;
  /** Once, the last call. `null`: the peer closed the connection. */
  ended(error: Error | null): void;
}

/** A Duplex as a channel of frames. Reads only while it has a receiver; owns the Duplex. */
export class FrameChannel {
  readonly #duplex: Duplex;
  readonly #parser = new FrameParser();
  readonly #queue = new SendQueue();
  readonly #closed = Promise.withResolvers<void>();
  readonly #listeners = {
    data: (chunk: Buffer) => this.#read(chunk),
    drain: () => this.#flush(),
    error: (error: Error) => this.#fail(error),
    end: () => void this.#duplex.destroy(),
    close: () => {
      this.#ended = true;
      this.#receiver?.ended(this.#error);
      this.#closed.resolve();
    },
  };
  #receiver: FrameReceiver | null = null;
  #flushing = false;
  #error: Error | null = null;
  #ended = false;

  constructor(duplex: Duplex) {
    this.#duplex = duplex;
    duplex.pause();
    for (const [event, listener] of Object.entries(this.#listeners)) duplex.on(event, listener);
  }

  /** Who gets the frames from now on; `null` stops reading, and the peer feels it. */
  receive(receiver: FrameReceiver | null): void {
    this.#receiver = receiver;
    if (receiver === null) this.#duplex.pause();
    else if (this.#ended) receiver.ended(this.#error);
    else this.#duplex.resume();
  }

  /** Stops reading for a while: back-pressure. */
  pause(): void {
    this.#duplex.pause();
  }

  resume(): void {
    if (this.#receiver !== null) this.#duplex.resume();
  }

  /** Lines may be long from now on: the peer has proved who it is. */
  trust(): void {
    this.#parser.lineLimitBytes = LINE_LIMIT_BYTES;
  }

  /** Queues an encoded frame. All frames of one turn of the event loop's microtasks share one write. */
  send(text: string, lane: Lane): void {
    this.#queue.add(text, lane);
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => this.#flush());
  }

  /**
   * Says that nothing more will be sent and reads on until the peer closes, at most `graceMs`: what it sent last is not lost.
   * Resolves when the Duplex is closed.
   */
  finish(graceMs: number): Promise<void> {
    const timer = setTimeout(() => this.#duplex.destroy(), graceMs);
    this.#duplex.end();
    this.#duplex.resume();
    return this.#closed.promise.finally(() => clearTimeout(timer));
  }

  /**
   * The Duplex, paused, for whoever uses it for something else from here on; the channel is of no more use. To be called when all that
   * was sent has been answered.
   */
  release(): Duplex {
    this.#receiver = null;
    this.#duplex.pause();
    for (const [event, listener] of Object.entries(this.#listeners)) this.#duplex.removeListener(event, listener);
    // Until its next user listens, an error is told of by `close` alone.
    this.#duplex.on("error", () => undefined);
    return this.#duplex;
  }

  /** Idempotent; unsent frames are dropped. Resolves when the Duplex is closed. */
  close(error: Error | null = null): Promise<void> {
    this.#error ??= error;
    this.#duplex.destroy();
    return this.#closed.promise;
  }

  #read(chunk: Buffer): void {
    try {
      const frames = this.#parser.push(chunk);
      if (!this.#duplex.destroyed) this.#receiver?.frames(frames, chunk.length);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #fail(error: Error): void {
    void this.close(error);
  }

  #flush(): void {
    this.#flushing = true;
    while (this.#duplex.writable) {
      const lines = this.#queue.batch();
      if (lines === "") break;
      // While the peer is slow, what comes waits in the queue, control before bulk, until the drain.
      if (!this.#duplex.write(lines)) return;
    }
    this.#flushing = false;
  }
}
