import type { Session } from "../../core/session.ts";
import type { StatementView } from "../../core/view.ts";
import { type Content, flag, integerOf, textOf } from "./messages.ts";
import { causeOf } from "./origin.ts";

/** What one answer holds at most. */
const ENTRIES = 10_000;

/** Statements of the session, whoever sent them, as the messaging specification's history has them: tail, range or search. */
export const history = async (session: Session, content: Content, signal: AbortSignal): Promise<Content> => {
  const output = flag(content, "output");
  const known = (await session.statements(signal)).filter((statement) => causeOf(statement).stored && statement.startedMs > 0);
  const entries: [number, number, unknown][] = [];
  for (const statement of await selected(session, known, content, signal)) {
    entries.push([0, statement.count, output ? [statement.code, shownOf(statement)] : statement.code]);
  }
  return { status: "ok", history: entries };
};

const selected = async (
  session: Session,
  known: readonly StatementView[],
  content: Content,
  signal: AbortSignal,
): Promise<readonly StatementView[]> => {
  const wanted = Math.max(0, Math.min(integerOf(content, "n", ENTRIES), ENTRIES));
  const last = (list: readonly StatementView[]) => (wanted === 0 ? [] : list.slice(-wanted));
  switch (textOf(content, "hist_access_type")) {
    case "range":
      return whole(session, inRange(known, content), signal);
    case "search": {
      const pattern = globOf(textOf(content, "pattern") || "*");
      const found = (await whole(session, known, signal)).filter(({ code }) => pattern.test(code));
      return last(flag(content, "unique") ? [...new Map(found.map((statement) => [statement.code, statement])).values()] : found);
    }
    default:
      return whole(session, last(known), signal);
  }
};

/** `session` 0 is this one, and no earlier one is kept; `stop` is not in it. */
const inRange = (known: readonly StatementView[], content: Content): readonly StatementView[] => {
  if (integerOf(content, "session", 0) !== 0) return [];
  const start = integerOf(content, "start", 1);
  const stop = integerOf(content, "stop", Number.MAX_SAFE_INTEGER);
  return known.filter(({ count }) => count >= start && count < stop).slice(0, ENTRIES);
};

const whole = async (session: Session, list: readonly StatementView[], signal: AbortSignal): Promise<readonly StatementView[]> => {
  const read: StatementView[] = [];
  for (const statement of list) read.push(statement.whole ? statement : await session.statement(statement.id, signal));
  return read;
};

const shownOf = ({ outputs }: StatementView): string | null => {
  const result = outputs.findLast((output) => output.type === "result");
  const text = result?.data["text/plain"];
  return typeof text === "string" ? text : null;
};

/** SQLite's GLOB, as IPython searches: `*` and `?`. Without backtracking that could take for ever. */
const globOf = (pattern: string): { test(text: string): boolean } => {
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
