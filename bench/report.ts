import { cpus, totalmem } from "node:os";
import { median, p95 } from "./stats.ts";

/** One line of the table: what was measured, ours and the floor's samples of the same run, and what design.md §7 asks for. */
export interface Row {
  readonly what: string;
  readonly unit: string;
  readonly ours: readonly number[];
  readonly floor: { readonly name: string; readonly values: readonly number[] } | null;
  readonly livy?: readonly number[] | undefined;
  readonly goal: Goal;
}

export type Goal =
  /** ours / floor, medians. */
  | { readonly kind: "ratio"; readonly atMost?: number; readonly atLeast?: number }
  /** ours - floor, medians. */
  | { readonly kind: "more"; readonly atMost: number }
  /** ours, median. */
  | { readonly kind: "value"; readonly atMost: number }
  | { readonly kind: "none" };

const digits = (value: number): string =>
  Number.isNaN(value)
    ? "–"
    : value >= 1000
      ? Math.round(value).toLocaleString("en")
      : value >= 100
        ? value.toFixed(0)
        : value.toPrecision(2);

/** The number the goal is about, and whether it is reached. */
export const judge = (row: Row): { readonly shown: string; readonly goal: string; readonly reached: boolean | null } => {
  const ours = median(row.ours);
  const floor = row.floor === null ? Number.NaN : median(row.floor.values);
  switch (row.goal.kind) {
    case "ratio": {
      const ratio = ours / floor;
      const { atMost, atLeast } = row.goal;
      const reached = (atMost === undefined || ratio <= atMost) && (atLeast === undefined || ratio >= atLeast);
      return { shown: `× ${ratio.toFixed(2)}`, goal: atMost === undefined ? `≥ × ${atLeast}` : `≤ × ${atMost}`, reached };
    }
    case "more":
      return {
        shown: `+ ${digits(ours - floor)} ${row.unit}`,
        goal: `≤ + ${row.goal.atMost} ${row.unit}`,
        reached: ours - floor <= row.goal.atMost,
      };
    case "value":
      return { shown: `${digits(ours)} ${row.unit}`, goal: `≤ ${row.goal.atMost} ${row.unit}`, reached: ours <= row.goal.atMost };
    case "none":
      return {
        shown: Number.isNaN(floor) || floor === 0 ? `${digits(ours)} ${row.unit}` : `× ${(ours / floor).toFixed(2)}`,
        goal: "–",
        reached: null,
      };
  }
};

const pair = (values: readonly number[], unit: string): string => `${digits(median(values))} / ${digits(p95(values))} ${unit}`;

export const table = (rows: readonly Row[]): string => {
  const withLivy = rows.some((row) => row.livy !== undefined);
  const lines = rows.map((row) => {
    const { shown, goal, reached } = judge(row);
    const floor = row.floor === null ? "–" : `${pair(row.floor.values, row.unit)} (${row.floor.name})`;
    const livy = withLivy ? [row.livy === undefined ? "–" : pair(row.livy, row.unit)] : [];
    const verdict = reached === null ? "" : reached ? "reached" : "**missed**";
    return `| ${[row.what, pair(row.ours, row.unit), floor, ...livy, shown, goal, verdict].join(" | ")} |`;
  });
  const heads = ["what", "Longwick", "floor", ...(withLivy ? ["Livy"] : []), "result", "goal", ""];
  return [`| ${heads.join(" | ")} |`, `|${"---|".repeat(heads.length)}`, ...lines].join("\n");
};

export const machineClass = (): string => {
  const [first] = cpus();
  return `${cpus().length} cores (${first?.model.trim() ?? "unknown"}), ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform}, Node ${process.versions.node}`;
};

/** A page with what stands between the marks of this name written anew. @throws Error when it has no such marks */
export const withSection = (page: string, name: string, text: string): string => {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`the page has no place ${begin} … ${end}`);
  return `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`;
};
