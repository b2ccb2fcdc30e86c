import type { RecordFrame } from "../protocol/frames.ts";
import { Problem } from "./problems.ts";

type Read = (fromSeq: number, signal: AbortSignal) => Promise<{ records: readonly RecordFrame[]; nextSeq: number }>;

/** How many records, and how much, a reader may lag behind before it is sent back to the journal. */
const BUFFER_RECORDS = 1_000;
const BUFFER_BYTES = 4 * 1024 * 1024;

const NOTHING = { record: undefined, bytes: 0 };

interface Reader {
  cursor: number;
  buffer: { readonly record: RecordFrame; readonly bytes: number }[];
  /** Of what is in the buffer. */
  bytes: number;
  reset: boolean;
  wake: () => void;
}

/** Readers of one session's records, each with its own cursor: the past from the driver, the present from the link. */
export class Subscribers {
  readonly #readers = new Set<Reader>();
  readonly #read: Read;
  #lastSeq = 0;
  #ended = false;

  constructor(read: Read) {
    this.#read = read;
  }

  /** `bytes`: how long they were on the wire. */
  publish(records: readonly RecordFrame[], bytes: number): void {
    this.#lastSeq = records.at(-1)?.seq ?? this.#lastSeq;
    const batch = records.map((record) => ({ record, bytes: bytes / records.length }));
    for (const reader of this.#readers) {
      if (reader.buffer.length < BUFFER_RECORDS && reader.bytes < BUFFER_BYTES) {
        reader.buffer.push(...batch);
        reader.bytes += bytes;
      }
      reader.wake();
    }
  }

  reset(): void {
    this.#lastSeq = 0;
    for (const reader of this.#readers) {
      Object.assign(reader, { reset: true, buffer: [], bytes: 0 });
      reader.wake();
    }
  }

  end(): void {
    this.#ended = true;
    for (const reader of this.#readers) reader.wake();
  }

  async *follow(afterSeq: number, lastSeq: number, signal: AbortSignal): AsyncGenerator<RecordFrame | "reset"> {
    this.#lastSeq = Math.max(this.#lastSeq, lastSeq);
    const reader: Reader = { cursor: afterSeq, buffer: [], bytes: 0, reset: false, wake: () => undefined };
    this.#readers.add(reader);
    const abort = () => reader.wake();
    signal.addEventListener("abort", abort, { once: true });
    try {
      while (!signal.aborted) {
        if (reader.reset) {
          Object.assign(reader, { reset: false, cursor: 0 });
          yield "reset";
        }
        const { record: next, bytes } = reader.buffer.shift() ?? NOTHING;
        reader.bytes -= bytes;
        if (next !== undefined && next.seq <= reader.cursor) continue;
        if (next !== undefined && next.seq === reader.cursor + 1) {
          reader.cursor = next.seq;
          yield next;
        } else if (next !== undefined || reader.cursor < this.#lastSeq) {
          // A gap: the journal has it. What is buffered comes again from there.
          Object.assign(reader, { buffer: [], bytes: 0 });
          const page = await this.#read(reader.cursor + 1, signal).catch(unlessUnreachable);
          if (page === null) {
            if (this.#ended) return;
            await wakeOf(reader);
            continue;
          }
          const { records, nextSeq } = page;
          for (const record of records) {
            if (record.seq <= reader.cursor || reader.reset) continue;
            reader.cursor = record.seq;
            yield record;
          }
          // Records no longer kept leave a hole that no reading fills.
          if (!reader.reset) reader.cursor = Math.max(reader.cursor, nextSeq - 1);
        } else if (this.#ended) {
          return;
        } else {
          await wakeOf(reader);
        }
      }
    } finally {
      signal.removeEventListener("abort", abort);
      this.#readers.delete(reader);
    }
  }
}

const wakeOf = (reader: Reader): Promise<void> =>
  new Promise((resolve) => {
    reader.wake = resolve;
  });

/** A driver that cannot be reached is on its way back, or the session's end is about to be known. */
const unlessUnreachable = (error: unknown): null => {
  if (error instanceof Problem && error.code === "DRIVER_UNREACHABLE") return null;
  throw error;
};
