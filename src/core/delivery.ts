import { setTimeout as pause } from "node:timers/promises";
import type { ReplyResult, RequestBody, RequestName } from "../protocol/frames.ts";
import { Problem } from "./problems.ts";
import type { SessionSpec } from "./spec.ts";
import { uploadsIn } from "./upload-uri.ts";
import type { UploadSource } from "./uploads.ts";

export interface DeliveryParts {
  /** null: this server has no store of uploads. */
  readonly source: UploadSource | null;
  /** As DriverLink's. */
  readonly request: <Name extends RequestName>(name: Name, body: RequestBody<Name>, signal: AbortSignal) => Promise<ReplyResult<Name>>;
  /** Called when `trouble` is another. */
  readonly changed: () => void;
  /** The driver will never have what it waits for. */
  readonly fail: (reason: string) => void;
  /** Aborts when the driver is let go of. */
  readonly signal: AbortSignal;
}

type Awaited = ReplyResult<"awaited">["files"][number];

/** The protocol's version from which on drivers wait for files. */
const SINCE_VERSION = 4;
/** In base64 and JSON it still fits one line of the wire. */
const PIECE_BYTES = 180 * 1024;
/** So many pieces are under way at once: what one takes to arrive and to be answered is not waited for each time. */
const WINDOW = 8;
const PAUSE_MS = 1_000;
const PAUSE_LIMIT_MS = 30_000;
/** A file that arrives wrong so often in a row never will arrive right. */
const ATTEMPTS = 5;
/** What no attempt mends. */
const FATAL: ReadonlySet<string> = new Set(["UPLOAD_NOT_FOUND", "TOO_MANY_STATEMENTS"]);
/** The driver, or the link to it, is gone: the next connection begins anew. */
const OVER: ReadonlySet<string> = new Set(["DRIVER_UNREACHABLE", "SESSION_ENDED", "NOT_SUPPORTED"]);

/**
 * Sends a driver the uploads that it waits for before it starts Spark. The driver says what is missing, so that any server may go on where
 * another stopped; two that send at once do each other no harm.
 */
export class Delivery {
  readonly #parts: DeliveryParts;
  /** Nothing else of the store goes to this driver, whatever it says it waits for. */
  readonly #named: ReadonlySet<string>;
  #running = false;
  #trouble: string | null = null;

  constructor(spec: SessionSpec, parts: DeliveryParts) {
    this.#parts = parts;
    this.#named = new Set(uploadsIn(spec).map(({ id, name }) => `${id}/${name}`));
  }

  /** Why a driver that waits is not sent anything now, in a sentence; null: nothing is in the way. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** There is a new connection to the driver, of this version. */
  begin(version: number): void {
    if (this.#named.size === 0 || version < SINCE_VERSION || this.#running) return;
    this.#running = true;
    void this.#run().finally(() => {
      this.#running = false;
    });
  }

  async #run(): Promise<void> {
    const { request, signal } = this.#parts;
    let failed = 0;
    let wrong = 0;
    while (!signal.aborted) {
      try {
        const [file] = (await request("awaited", {}, signal)).files;
        if (file === undefined) return this.#say(null);
        await this.#send(file);
        this.#say(null);
        failed = 0;
        wrong = 0;
      } catch (error) {
        if (signal.aborted) return;
        const code = error instanceof Problem ? error.code : null;
        const words = error instanceof Error ? error.message : String(error);
        if (code !== null && OVER.has(code)) return;
        if (code === "INVALID") wrong += 1;
        if ((code !== null && FATAL.has(code)) || wrong >= ATTEMPTS) return this.#parts.fail(`The driver waits for an upload. ${words}`);
        this.#say(`The driver waits for an upload, which is tried again: ${words}`);
        await pause(Math.min(PAUSE_LIMIT_MS, PAUSE_MS * 2 ** failed), undefined, { signal }).catch(() => undefined);
        failed += 1;
      }
    }
  }

  #say(trouble: string | null): void {
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#parts.changed();
  }

  async #send({ upload, name, offset }: Awaited): Promise<void> {
    const { source, request, signal } = this.#parts;
    if (!this.#named.has(`${upload}/${name}`)) throw new Problem("UPLOAD_NOT_FOUND", "It waits for a file that was not asked for.");
    if (source === null) throw new Problem("STORAGE_UNREACHABLE", "This server has no store of uploads.");
    const { sha256, content } = await source.open(upload, offset, signal);
    let at = offset;
    let have = offset;
    const open: Promise<void>[] = [];
    const supply = (data: string, last: boolean) => {
      const sent = request("supply", { upload, name, offset: at, data, last, sha256 }, signal).then((reply) => {
        have = Math.max(have, reply.offset);
      });
      // Whoever awaits it is told.
      sent.catch(() => undefined);
      open.push(sent);
    };
    for await (const chunk of content)
      for (let from = 0; from < chunk.length; from += PIECE_BYTES) {
        const piece = Buffer.from(chunk.subarray(from, from + PIECE_BYTES));
        // Another server may have been quicker.
        if (at + piece.length > have) supply(piece.toString("base64"), false);
        at += piece.length;
        if (open.length >= WINDOW) await open.shift();
      }
    await Promise.all(open);
    supply("", true);
    await Promise.all(open);
  }
}
