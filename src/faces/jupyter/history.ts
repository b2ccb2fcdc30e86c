import { setImmediate as nextTurn } from "node:timers/promises";
import { Problem } from "../../core/problems.ts";
import type { Session } from "../../core/session.ts";
import type { StatementView } from "../../core/statement-view.ts";
import { type Content, flag, integerOf, textOf } from "./messages.ts";
import { causeOf } from "./origin.ts";

/** What one answer holds at most. */
const ENTRIES = 10_000;
/** What of a pattern and of a statement's code is looked at: their product is the longest that a search keeps others waiting. */
const PATTERN_CHARS = 1_000;
const SEARCHED_CHARS = 1024 * 1024;
const TURN_MS = 20;

/** Session, number, and code; or code and what it showed. */
type Entry = readonly [0, number, string | readonly [string, string | null]];

/** Statements of the session, whoever sent them, as the messaging specification's history has them: tail, range or search. */
export const history = async (session: Session, content: Content, signal: AbortSignal): Promise<Content> => {
  const known = (await session.statements(signal)).filter((statement) => causeOf(statement).stored && statement.startedMs > 0);
  const wanted = Math.max(0, Math.min(integerOf(content, "n", ENTRIES), ENTRIES));
  const read = (list: readonly StatementView[], pattern: Glob) =>
    entriesOf(session, list, { output: flag(content, "output"), pattern }, signal);
  switch (textOf(content, "hist_access_type")) {
    case "range":
      return { status: "ok", history: await read(inRange(known, content), ANY) };
    case "search": {
      const found = await read(known, globOf(textOf(content, "pattern") || "*"));
      const all = flag(content, "unique") ? [...new Map(found.map((entry) => [codeOf(entry), entry])).values()] : found;
      return { status: "ok", history: last(all, wanted) };
    }
    default:
      return { status: "ok", history: await read(last(known, wanted), ANY) };
  }
};

const last = <Item>(list: readonly Item[], wanted: number): readonly Item[] => (wanted === 0 ? [] : list.slice(-wanted));
const codeOf = ([, , shown]: Entry): string => (typeof shown === "string" ? shown : shown[0]);

/** `session` 0 is this one, and no earlier one is kept; `stop` is not in it. */
const inRange = (known: readonly StatementView[], content: Content): readonly StatementView[] => {
  if (integerOf(content, "session", 0) !== 0) return [];
  const start = integerOf(content, "start", 1);
  const stop = integerOf(content, "stop", Number.MAX_SAFE_INTEGER);
  return known.filter(({ count }) => count >= start && count < stop).slice(0, ENTRIES);
};

/** One after the other: together they may be as large as the journal. */
const entriesOf = async (
  session: Session,
  list: readonly StatementView[],
  { output, pattern }: { readonly output: boolean; readonly pattern: Glob },
  signal: AbortSignal,
): Promise<readonly Entry[]> => {
  const entries: Entry[] = [];
  let turnMs = performance.now();
  for (const known of list) {
    const statement = known.whole ? known : await session.statement(known.id, signal);
    const { code, count } = statement;
    if (pattern.test(code.slice(0, SEARCHED_CHARS))) entries.push([0, count, output ? [code, shownOf(statement)] : code]);
    if (performance.now() - turnMs < TURN_MS) continue;
    await nextTurn();
    signal.throwIfAborted();
    turnMs = performance.now();
  }
  return entries;
};

const shownOf = ({ outputs }: StatementView): string | null => {
  const result = outputs.findLast((output) => output.type === "result");
  const text = result?.data["text/plain"];
  return typeof text === "string" ? text : null;
};

interface Glob {
  test(text: string): boolean;
}
const ANY: Glob = { test: () => true };

/** SQLite's GLOB, as IPython searches: `*` and `?`. Without backtracking that could take for ever. */
const globOf = (pattern: string): Glob => {
  if (pattern.length > PATTERN_CHARS) throw new Problem("INVALID", `A history's pattern has ${PATTERN_CHARS} characters at most.`);
  const parts = pattern.split(/\*+/).map((part) => new RegExp(partOf(part), "suy"));
  return { test: (text) => matches(parts, text) };
};

const partOf = (part: string): string =>
  part.replaceAll(/[^?]/gu, (character) => character.replace(/[\\^$.*+|(){}[\]/-]/, "\\$&")).replaceAll("?", ".");

/** Each part as far to the left as it goes; the last one at the end. */
const matches = (parts: readonly RegExp[], text: string): boolean => {
  let from = 0;
  for (const [index, part] of parts.entries()) {
    const last = index === parts.length - 1;
    const end = placeOf(part, text, from, index === 0, last);
    if (end === null) return false;
    from = end;
  }
  return from === text.length || parts.length > 1;
};

const placeOf = (part: RegExp, text: string, from: number, anchored: boolean, atEnd: boolean): number | null => {
  for (let at = from; at <= text.length; at += 1) {
    part.lastIndex = at;
    if (part.test(text) && (!atEnd || part.lastIndex === text.length || part.source === "(?:)")) return part.lastIndex;
    if (anchored) return null;
  }
  return null;
};
