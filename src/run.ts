import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { FastifyBaseLogger } from "fastify";
import type { Config } from "./config.ts";
import { linesOf } from "./core/lines.ts";
import { openOwnServer } from "./own-server.ts";
import type { Prepared } from "./prepare.ts";
import type { RecordFrame } from "./protocol/frames.ts";
import { ask, messageOf, parsed, RunError, send } from "./rest.ts";
import type { Target } from "./target.ts";

export interface RunOptions {
  readonly code: string;
  readonly kind: "pyspark" | "sql";
  /** The statement's own output and error streams. */
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/** How long a run's driver outlives a run that was killed. */
const ORPHAN_MS = 60_000;

/** Calls `use` with a server of one's own, whose drivers may use these directories; afterwards nothing of it is left. */
export const withOwnServer = async <Result>(
  config: Config,
  prepared: Prepared | null,
  version: string,
  log: FastifyBaseLogger,
  use: (target: Target) => Promise<Result>,
  localPaths: readonly string[] = [],
): Promise<Result> => {
  const directory = await mkdtemp(join(tmpdir(), "longwick-run-"));
  try {
    const instance = `run-${randomBytes(6).toString("hex")}`;
    const options = { directory, instance, orphanTimeoutMs: ORPHAN_MS, stopGraceMs: config.stopGraceMs, localPaths };
    const own = await openOwnServer(config, options, prepared, version, log);
    try {
      return await use({ url: own.url, authorization: `Bearer ${own.token}` });
    } finally {
      await own.end();
    }
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }
};

/**
 * Runs one statement in a session of its own, which is deleted afterwards, and writes its output as it comes. When the signal aborts, the
 * statement is cancelled. Answers the exit code: 0 when the statement ended well, 130 when it was cancelled, else 1.
 * @throws RunError
 */
export const runStatement = async (target: Target, { code, kind, out, err }: RunOptions, signal: AbortSignal): Promise<number> => {
  const { id: session } = await ask<{ id: number }>(target, "POST", "/sessions", { body: { kind } });
  try {
    const statement = await submit(target, session, code, signal);
    const path = `/sessions/${session}/statements/${statement}`;
    const cancel = () => void ask(target, "POST", `${path}/cancel`).catch(() => undefined);
    signal.addEventListener("abort", cancel, { once: true });
    if (signal.aborted) cancel();
    for await (const record of records(target, `${path}/records`)) {
      if (record.type === "finished") return record.outcome === "ok" ? 0 : record.outcome === "cancelled" ? 130 : 1;
      write(record, out, err);
    }
    throw new RunError("The statement's records ended before it did.");
  } finally {
    await ask(target, "DELETE", `/sessions/${session}`).catch((error: unknown) =>
      err(`longwick: session ${session} is left: ${String(error)}\n`),
    );
  }
};

/** Waits as long as the session starts. */
const submit = async (target: Target, session: number, code: string, signal: AbortSignal): Promise<number> => {
  for (;;) {
    const answer = await send(target, "POST", `/sessions/${session}/statements`, { body: { code } });
    if (answer.status === 201) return (await parsed<{ id: number }>(answer)).id;
    const refusal = await messageOf(answer);
    const { state, log } = await ask<{ state: string; log: readonly string[] }>(target, "GET", `/sessions/${session}`);
    if (signal.aborted) throw new RunError("Interrupted before the session was ready.");
    if (state !== "starting" && state !== "not_started") throw new RunError(`${refusal}\n${log.join("\n")}`);
  }
};

const RETRY_MS = 500;
const RETRIES = 60;

/** A statement's records in order, each once, over as many connections as it takes. */
async function* records(target: Target, path: string): AsyncGenerator<RecordFrame> {
  let lastSeq = 0;
  let failures = 0;
  for (;;) {
    try {
      const answer = await send(target, "GET", path);
      if (answer.status !== 200 || answer.body === null) throw new RunError(await messageOf(answer));
      for await (const line of linesOf(answer.body)) {
        if (line === "") continue;
        // The server's own words, by its route's description.
        const record = JSON.parse(line) as RecordFrame | { type: "reset" };
        if (record.type === "reset") lastSeq = 0;
        else if (record.seq > lastSeq) {
          lastSeq = record.seq;
          failures = 0;
          yield record;
          if (record.type === "finished") return;
        }
      }
    } catch (error) {
      if (error instanceof RunError || failures >= RETRIES) throw error;
    }
    failures += 1;
    if (failures > RETRIES) throw new RunError("The statement's records end again and again before it does.");
    await pause(RETRY_MS);
  }
}

const write = (record: RecordFrame, out: (text: string) => void, err: (text: string) => void): void => {
  switch (record.type) {
    case "stream":
      return (record.name === "stdout" ? out : err)(record.text);
    case "result":
    case "display":
      return out(`${textOf(record.data)}\n`);
    case "error":
      return err(record.traceback.length > 0 ? `${record.traceback.join("").trimEnd()}\n` : `${record.ename}: ${record.evalue}\n`);
    case "dropped":
      return err(`longwick: ${record.bytes} bytes of output were dropped\n`);
    case "input":
      return err("longwick: the code asks for input, which a run cannot give\n");
    default:
  }
};

const textOf = (data: Readonly<Record<string, unknown>>): string => {
  const text = data["text/plain"];
  return typeof text === "string" ? text : JSON.stringify(data["application/json"] ?? Object.keys(data));
};
