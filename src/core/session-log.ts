import type { Attempt, Claim, SessionEnd } from "./ports.ts";
import type { View } from "./view.ts";

/** What is kept of an ended session's log, in lines and bytes; a claim has to hold it beside the rest. */
const KEPT_LINES = 1_000;
const KEPT_BYTES = 128 * 1024;
/** The same of an attempt that was not the last one. */
const ATTEMPT_LINES = 200;
const ATTEMPT_BYTES = 16 * 1024;
/** What a launch may say until the driver speaks for itself. */
const LAUNCH_LINES = 50;
/** Lines that are read at once by whoever reads all. */
const PAGE_LINES = 1_000;
/** So many answers of a driver hold all that it keeps. */
const ASKED_LIMIT = 8;
/** So many lines in a row are the same ones when they are equal. */
const SAME_LINES = 3;

/** What the log needs of its session. */
export interface LogSource {
  /** Lines of the driver's log that the view has let go, from a number on; none when the driver cannot be asked now. */
  ask(fromLine: number, lines: number, signal: AbortSignal): Promise<{ readonly fromLine: number; readonly lines: readonly string[] }>;
  /** What stands at the log's end and no driver wrote. */
  tidings(): readonly string[];
}

/** What an end remembers of the log. */
export type KeptLog = Pick<SessionEnd, "logTail" | "logLines" | "onlyTail" | "launch">;

/** Lines a driver wrote in a row. */
export interface NumberedLines {
  /** The first one's number, from 0. */
  readonly line: number;
  readonly lines: readonly string[];
}

/** A line's place in what all drivers of a life wrote. */
export interface LinePlace {
  /** From 1. */
  readonly attempt: number;
  /** From 0. */
  readonly line: number;
}

/** Lines of an attempt, or its end. */
export type DriverLines =
  | ({ readonly attempt: number } & NumberedLines)
  | { readonly attempt: number; readonly end: SessionEnd; readonly last: boolean };

/**
 * A session's log: notes of its making, the phases of its launch, the driver's lines by their numbers, and what is to be said at the end.
 * A line keeps its position, but for what is said at the end.
 */
export class SessionLog {
  /** What was there before this driver. */
  readonly #before: readonly string[];
  readonly #view: View;
  readonly #source: LogSource;
  readonly #launch: string[] = [];
  #fetched: { readonly fromLine: number; readonly lines: readonly string[] } = { fromLine: 0, lines: [] };
  /** What is left once the session has ended; `more`: the lines before can be asked for. */
  #kept: { readonly from: number; readonly lines: readonly string[]; readonly more: boolean } | null = null;

  constructor(claim: Claim, view: View, source: LogSource) {
    this.#view = view;
    this.#source = source;
    this.#before = [...claim.notes, ...claim.attempts.flatMap(linesOfAttempt)];
    if (claim.end !== null) this.conclude(claim.end);
  }

  /** Lines so far. */
  get total(): number {
    return this.#settled + this.tidings.length;
  }

  /** A phase of the launch; told until the driver speaks for itself. */
  launching(reason: string): void {
    if (this.#kept !== null || this.#view.logTotal > 0 || reason === "" || reason === this.#launch.at(-1)) return;
    if (this.#launch.length < LAUNCH_LINES) this.#launch.push(reason);
  }

  /** The last lines, as far as they are known here. */
  tail(lines: number): readonly string[] {
    if (lines <= 0) return [];
    const known = this.#known;
    return [...(known.from === 0 ? this.#head : []), ...known.lines, ...this.tidings].slice(-lines);
  }

  /** Lines by position; of those that nobody has any more there are fewer. */
  async read(from: number, lines: number, signal: AbortSignal): Promise<readonly string[]> {
    const until = Math.min(from + lines, this.total);
    const head = this.#head;
    const known = this.#known;
    const knownAt = head.length + known.from;
    const rest = [...known.lines, ...this.tidings].slice(Math.max(0, from - knownAt), Math.max(0, until - knownAt));
    const fetched = await this.#fetch(Math.max(0, from - head.length), Math.min(until, knownAt) - head.length, signal);
    return [...head.slice(from, until), ...fetched, ...rest];
  }

  /** The driver's lines between two numbers, in as many answers as it gives them. */
  async #fetch(first: number, until: number, signal: AbortSignal): Promise<readonly string[]> {
    let found: readonly string[] = [];
    let at = first;
    for (let asked = 0; at < until && asked < ASKED_LIMIT; asked += 1) {
      const { line, lines } = await this.#driverPiece(at, until - at, signal);
      if (lines.length === 0 && this.#kept === null) break;
      // It begins later than it was asked to when older lines are gone.
      found = [...found, ...lines.slice(0, Math.max(0, until - line))];
      at = line + lines.length;
    }
    return found;
  }

  /**
   * All lines in pieces, but for what is said at the end. When all are told, `more` resolves with whether there are others by then; it is
   * given how to find out. `own`: without what stands before the launch of this driver.
   */
  async *pages(
    more: (others: () => boolean) => Promise<boolean>,
    signal: AbortSignal,
    { own = false }: { own?: boolean } = {},
  ): AsyncGenerator<readonly string[]> {
    let at = own ? this.#before.length : 0;
    do {
      while (at < this.#settled) {
        const head = this.#head;
        const piece = at < head.length ? null : await this.#driverPiece(at - head.length, PAGE_LINES, signal);
        const lines = piece?.lines ?? head.slice(at);
        if (lines.length > 0) yield lines;
        at = piece === null ? head.length : head.length + piece.line + lines.length;
        // Nobody answers for the driver: it says itself how many lines there are, and that may be any number.
        if (lines.length === 0 && this.#kept === null) at = Math.max(at, head.length + this.#known.from);
      }
    } while (await more(() => at < this.#settled));
  }

  /**
   * The driver's own lines from a number on, in pieces. When all are told, `more` resolves as for `pages`. Lines that are not to be had are
   * asked for once more when `settled` has resolved: the driver answers again, or its log is kept; those that nobody has are left out.
   */
  async *driverLines(
    from: number,
    more: (others: () => boolean) => Promise<boolean>,
    settled: () => Promise<unknown>,
    signal: AbortSignal,
  ): AsyncGenerator<NumberedLines> {
    let at = from;
    const total = () => this.#known.from + this.#known.lines.length;
    do {
      while (at < total()) {
        let piece = await this.#driverPiece(at, PAGE_LINES, signal);
        if (piece.lines.length === 0) {
          await settled();
          piece = await this.#driverPiece(at, PAGE_LINES, signal);
        }
        if (piece.lines.length > 0) yield piece;
        at = piece.line + piece.lines.length;
      }
    } while (await more(() => at < total()));
  }

  /** Lines of the driver's from a number on; where there are none, the number of the next that there may be. */
  async #driverPiece(at: number, count: number, signal: AbortSignal): Promise<NumberedLines> {
    const { from, lines } = this.#known;
    if (at >= from) return { line: at, lines: lines.slice(at - from) };
    if (this.#kept?.more === false) return { line: from, lines: [] };
    const asked = await this.#source.ask(at, Math.min(count, from - at), signal);
    if (asked.lines.length > 0 || asked.fromLine > at) return { line: Math.max(at, asked.fromLine), lines: asked.lines };
    return { line: Math.min(at + count, from), lines: [] };
  }

  /** Fetches what is to be kept while the driver can still be asked. Never rejects. */
  async keep(signal: AbortSignal): Promise<void> {
    const fromLine = Math.max(0, this.#view.logTotal - KEPT_LINES);
    if (this.#view.logTotal - fromLine <= this.#view.logTail.length) return;
    this.#fetched = await this.#source.ask(fromLine, KEPT_LINES, signal).catch(() => this.#fetched);
  }

  /**
   * The session has ended; answers what is kept. `said`: the driver's last words as its workload has them; with a count of all its lines
   * they are their end, and the rest can be asked for.
   */
  end(said: readonly string[], logLines?: number): KeptLog {
    const kept = logLines === undefined ? this.#keptOf(said) : { logTail: lastWithin(said), logLines };
    const launch = this.#launch.length === 0 ? {} : { launch: [...this.#launch] };
    this.conclude({ ...kept, ...launch });
    return { ...kept, ...launch };
  }

  #keptOf(said: readonly string[]): KeptLog {
    // What a driver that never spoke leaves is its launch.
    const spoken = this.#view.logTotal > 0 ? this.#driversLast : this.#launch.splice(0);
    const all = [...spoken, ...following(spoken, said)];
    const logTail = lastWithin(all);
    const from = Math.max(0, this.#view.logTotal - spoken.length) + all.length - logTail.length;
    return from === 0 ? { logTail } : { logTail, logLines: from + logTail.length, onlyTail: true };
  }

  /** What is written down of the end counts from now on: every line has the same position on each server. */
  conclude({ logTail, logLines = 0, onlyTail = false, launch = [] }: KeptLog): void {
    const from = Math.max(0, logLines - logTail.length);
    this.#kept = { from, lines: logTail, more: from > 0 && !onlyTail };
    this.#launch.splice(0, this.#launch.length, ...launch);
  }

  /** Lines whose position does not change any more. */
  get #settled(): number {
    const known = this.#known;
    return this.#head.length + known.from + known.lines.length;
  }

  /** What stands before the driver's lines. */
  get #head(): readonly string[] {
    return [...this.#before, ...this.#launch];
  }

  /** The driver's lines that are known here, and the number of the first. */
  get #known(): { readonly from: number; readonly lines: readonly string[] } {
    const { logTail, logTotal } = this.#view;
    return this.#kept ?? { from: logTotal - logTail.length, lines: logTail };
  }

  get #driversLast(): readonly string[] {
    const { logTail, logTotal } = this.#view;
    const { fromLine, lines } = this.#fetched;
    const tailFrom = logTotal - logTail.length;
    const joined = fromLine <= tailFrom && fromLine + lines.length >= tailFrom;
    return joined ? [...lines.slice(0, tailFrom - fromLine), ...logTail] : logTail;
  }

  /** What is to be said at the end, by now. */
  get tidings(): readonly string[] {
    const told = this.#source.tidings();
    // A launch's phase is there already.
    return this.#view.logTotal === 0 && this.#kept === null && told[0] === this.#launch.at(-1) ? told.slice(1) : told;
  }
}

/** What is left of an attempt before from a line on. */
export const linesLeft = ({ logTail, logLines = logTail.length }: Attempt, fromLine: number): NumberedLines => {
  const first = logLines - logTail.length;
  const line = Math.max(fromLine, first);
  return { line, lines: logTail.slice(line - first) };
};

/** What a log remembers of an attempt before; `index`: from 0. */
export const linesOfAttempt = (attempt: Attempt, index: number): readonly string[] => [...attempt.logTail, endOfAttempt(attempt, index)];

/** The line that follows what an attempt wrote. */
export const endOfAttempt = ({ state, reason }: Attempt, index: number): string => `Attempt ${index + 1} ended (${state}): ${reason}`;

/** What was said after the last known lines: all of it when nothing of it is known. */
const following = (known: readonly string[], said: readonly string[]): readonly string[] => {
  for (let end = said.length; end > 0; end -= 1) {
    const same = Math.min(SAME_LINES, known.length, end);
    if (same > 0 && said.slice(end - same, end).every((line, index) => line === known[known.length - same + index])) return said.slice(end);
  }
  const last = said.slice(-SAME_LINES);
  const isKnown = known.some((_, at) => last.every((line, index) => line === known[at + index]));
  return last.length > 0 && isKnown ? [] : said;
};

/** What is remembered of an attempt that is followed by another: fewer lines, by the same numbers. */
export const endOfPast = ({ launch: _told, ...end }: SessionEnd): SessionEnd => ({
  ...end,
  logTail: lastWithin(end.logTail, ATTEMPT_BYTES).slice(-ATTEMPT_LINES),
  logLines: end.logLines ?? end.logTail.length,
});

const lastWithin = (lines: readonly string[], bytes = KEPT_BYTES): readonly string[] => {
  let room = bytes;
  const first = lines.findLastIndex((line) => {
    room -= Buffer.byteLength(line) + 1;
    return room < 0;
  });
  return lines.slice(first + 1).slice(-KEPT_LINES);
};
