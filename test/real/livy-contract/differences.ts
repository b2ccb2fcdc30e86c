import { readFileSync } from "node:fs";
import type { Normal } from "./normalise.ts";

/** One place where our answer is not what Livy answered. */
export interface Difference {
  readonly section: string;
  readonly case: string;
  /** `status 500 → 400`, `header location`, `body.output.traceback` … */
  readonly what: string;
  readonly livy: unknown;
  readonly ours: unknown;
}

/** One line of the table in docs/livy-compatibility.md: an intended difference. */
export interface Intended {
  readonly section: string;
  readonly case: string;
  readonly what: string;
  readonly reason: string;
}

const PAGE = new URL("../../../docs/livy-compatibility.md", import.meta.url);

/** The rows of the page's table of intended differences. */
export const readIntended = (): readonly Intended[] =>
  readFileSync(PAGE, "utf8")
    .split("\n")
    .filter((line) => /^\| `/.test(line))
    .map((line) => {
      const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
      const [, section, name, what, reason] = cells;
      if (section === undefined || name === undefined || what === undefined || reason === undefined || reason === "") {
        throw new Error(`docs/livy-compatibility.md: a row needs section, case, difference and reason: ${line}`);
      }
      const code = (cell: string) => cell.replaceAll("`", "");
      return { section: code(section), case: code(name), what: code(what), reason };
    });

/** `*` stands for anything; a difference below a listed path is listed too. */
export const covers = (intended: Intended, difference: Difference): boolean =>
  matches(intended.section, difference.section) &&
  matches(intended.case, difference.case) &&
  matches(intended.what, difference.what, "([.[ ].*)?");

const matches = (pattern: string, value: string, rest = ""): boolean =>
  new RegExp(`^${pattern.split("*").map(literal).join(".*")}${rest}$`, "s").test(value);

const literal = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");

/** Everything in which two answers differ, each at the deepest place where it shows. */
export const compare = (place: { section: string; case: string }, livy: Normal, ours: Normal): readonly Difference[] => {
  const found: Difference[] = [];
  const add = (what: string, left: unknown, right: unknown) =>
    found.push({ section: place.section, case: place.case, what, livy: left, ours: right });
  if (livy.status !== ours.status) add(`status ${livy.status} → ${ours.status}`, livy.status, ours.status);
  // What one refuses and the other does has nothing more to compare.
  if (livy.status < 400 !== ours.status < 400) return found;
  for (const name of new Set([...Object.keys(livy.headers), ...Object.keys(ours.headers)])) {
    if (livy.headers[name] !== ours.headers[name]) add(`header ${name}`, livy.headers[name], ours.headers[name]);
  }
  walk("body", livy.body, ours.body, add);
  return found;
};

/** Livy's bare strings become `{"msg"}` everywhere; the shape is checked, so that it needs no line for each place. */
const isMessage = (value: unknown): boolean =>
  typeof value === "object" &&
  value !== null &&
  Object.keys(value).join() === "msg" &&
  "msg" in value &&
  typeof value.msg === "string" &&
  value.msg !== "";

const walk = (path: string, livy: unknown, ours: unknown, add: (what: string, livy: unknown, ours: unknown) => void): void => {
  if (Object.is(livy, ours)) return;
  if (path === "body" && typeof livy === "string" && isMessage(ours)) return add("body text → {msg}", livy, ours);
  if (Array.isArray(livy) && Array.isArray(ours)) {
    if (livy.length !== ours.length) return add(path, livy, ours);
    for (const [index, item] of livy.entries()) walk(`${path}[]`, item, ours[index], add);
    return;
  }
  if (
    typeof livy === "object" &&
    typeof ours === "object" &&
    livy !== null &&
    ours !== null &&
    !Array.isArray(livy) &&
    !Array.isArray(ours)
  ) {
    const [left, right] = [new Map(Object.entries(livy)), new Map(Object.entries(ours))];
    // A result and an error have nothing more to compare.
    if (path.endsWith(".output") && left.get("status") !== right.get("status")) {
      add(`${path}.status ${left.get("status")} → ${right.get("status")}`, livy, ours);
      return;
    }
    for (const key of new Set([...left.keys(), ...right.keys()])) walk(`${path}.${key}`, left.get(key), right.get(key), add);
    return;
  }
  add(/\bstate$/.test(path) ? `${path} ${String(livy)} → ${String(ours)}` : path, livy, ours);
};
