import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { linesOf } from "./core/lines.ts";
import { messageOf, parsed, RunError, type Sending, send, UnreachableError } from "./rest.ts";
import { deleteUploads, shipFiles } from "./ship.ts";
import type { Submission } from "./submission.ts";
import type { Target } from "./target.ts";

export interface Streams {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/** How long a server that does not answer is called again before the wait is given up. */
const PATIENCE_MS = 10 * 60_000;
/** The same for the request that makes the batch, which says under its key that it is the same one. */
const ACCEPT_MS = 30_000;
const RETRY_MS = 500;
const INTERRUPTED = 130;

/** What `GET /batches/{id}/driver-lines` tells. */
type Piece =
  | { readonly attempt: number; readonly line: number; readonly lines: readonly string[] }
  | { readonly attempt: number; readonly end: { readonly state: string; readonly reason: string }; readonly last: boolean };

/**
 * Submits an application as a batch, whose id is written out; files of this machine go along. When it is to be waited for, what it writes
 * is shown as it comes, each line once, over as many servers as it takes. Answers the exit code: 0 when it was submitted, or has succeeded,
 * 1 when it has failed, 130 when the signal aborted the wait: the batch goes on, unless it is to be ended too.
 * @throws RunError, UnreachableError
 */
export const submitBatch = async (target: Target, submission: Submission, streams: Streams, signal: AbortSignal): Promise<number> => {
  const { idempotencyKey, wait, follow, kill } = submission;
  const shipped = await shipFiles(target, submission.body, signal).catch((error: unknown) => {
    if (!signal.aborted) throw error;
    return null;
  });
  if (shipped === null) {
    streams.err("longwick: interrupted before there was a batch\n");
    return INTERRUPTED;
  }
  const { body, uploads } = shipped;
  const headers = { "Idempotency-Key": idempotencyKey ?? randomUUID() };
  const answer = await persistently(target, "POST", "/batches", { body, headers }, ACCEPT_MS);
  if (answer.status !== 201) {
    await deleteUploads(target, uploads);
    throw new RunError(await messageOf(answer));
  }
  const { id } = await parsed<{ id: number }>(answer);
  if (follow) streams.err(`longwick: batch ${id}\n`);
  else streams.out(`${id}\n`);
  if (!wait) return 0;
  try {
    const code = await waitFor(target, id, follow ? streams.out : streams.err, streams.err, signal);
    await deleteUploads(target, uploads);
    return code;
  } catch (error) {
    if (!signal.aborted) throw error;
    if (kill) {
      await end(target, id);
      await deleteUploads(target, uploads);
    }
    streams.err(`longwick: batch ${id} ${kill ? "was ended" : "goes on"}\n`);
    return INTERRUPTED;
  }
};

const waitFor = async (target: Target, id: number, log: Streams["out"], err: Streams["err"], signal: AbortSignal): Promise<number> => {
  for await (const piece of driverLines(target, id, signal)) {
    if ("lines" in piece) {
      if (piece.lines.length > 0) log(`${piece.lines.join("\n")}\n`);
      continue;
    }
    const { state, reason } = piece.end;
    if (!piece.last) err(`longwick: attempt ${piece.attempt} of batch ${id} ended (${state}): ${reason}\n`);
    else if (state === "success") return 0;
    else {
      err(`longwick: batch ${id} failed (${state}): ${reason}\n`);
      return 1;
    }
  }
  throw new RunError(`What batch ${id} writes ended before it did.`);
};

/** What the drivers write, each line once: a connection that breaks is made again from the next line on. */
async function* driverLines(target: Target, id: number, signal: AbortSignal): AsyncGenerator<Piece> {
  let [attempt, line] = [1, 0];
  for (;;) {
    const path = `/batches/${id}/driver-lines?attempt=${attempt}&line=${line}`;
    const answer = await persistently(target, "GET", path, { signal }, PATIENCE_MS);
    if (answer.status === 404) throw new RunError(`Batch ${id} is not there any more: somebody has deleted it.`);
    if (answer.status !== 200 || answer.body === null) throw new RunError(await messageOf(answer));
    try {
      for await (const text of linesOf(answer.body)) {
        if (text === "") continue;
        // The server's own words, by its route's description.
        const piece = JSON.parse(text) as Piece;
        [attempt, line] = "lines" in piece ? [piece.attempt, piece.line + piece.lines.length] : [piece.attempt + 1, 0];
        yield piece;
        if ("end" in piece && piece.last) return;
      }
    } catch (error) {
      // The connection broke off; anything else fails again.
      if (signal.aborted || !(error instanceof TypeError)) throw error;
    }
    await pause(RETRY_MS, undefined, { signal });
  }
}

/** Sends a request that may be sent again until a server answers it; the last answer, when the time is up. @throws UnreachableError */
const persistently = async (target: Target, method: string, path: string, sending: Sending, patienceMs: number): Promise<Response> => {
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    const answer = await send(target, method, path, sending).catch((error: unknown) => {
      if (!(error instanceof UnreachableError)) throw error;
      return error;
    });
    const over = performance.now() > giveUpAt;
    if (answer instanceof UnreachableError) {
      if (over) throw answer;
    } else if (over || (answer.status < 500 && answer.status !== 429) || answer.status === 501) return answer;
    else await answer.body?.cancel();
    await pause(RETRY_MS, undefined, sending.signal === undefined ? {} : { signal: sending.signal });
  }
};

const end = async (target: Target, id: number): Promise<void> => {
  const answer = await persistently(target, "DELETE", `/batches/${id}`, {}, ACCEPT_MS);
  if (!answer.ok && answer.status !== 404) throw new RunError(await messageOf(answer));
};
