import type { Job, Outcome } from "../../core/statement-view.ts";
import type { Content } from "./messages.ts";
import { asideHtml, escapeHtml, seconds } from "./text.ts";

export interface Progress {
  readonly jobs: readonly Job[];
  /** Since the statement began. */
  readonly elapsedMs: number;
  /** Null while it runs. */
  readonly outcome: Outcome | null;
  readonly uiUrl: string | null;
}

/** Stages shown one by one; a summary tells of all. */
const STAGES = 5;

/** A statement's Spark jobs as a MIME bundle; one line once it has ended. */
export const progressBundle = (progress: Progress): Content => {
  const { jobs, outcome, uiUrl } = progress;
  const stages = [...new Map(jobs.flatMap((job) => job.stages.map((stage) => [stage.stage, stage] as const))).values()];
  const sum = (of: (stage: (typeof stages)[number]) => number) => stages.reduce((total, stage) => total + of(stage), 0);
  const [tasks, done, active, failed] = [
    sum((stage) => stage.tasks),
    sum((stage) => stage.completed),
    sum((stage) => stage.active),
    sum((stage) => stage.failed),
  ];
  const line = summary(progress, { stages: stages.length, tasks, done, active, failed });
  const link = /^https?:\/\//.test(uiUrl ?? "")
    ? ` · <a href="${escapeHtml(uiUrl ?? "")}" target="_blank" rel="noopener">Spark UI</a>`
    : "";
  const head = asideHtml(`${escapeHtml(line)}${link}`);
  if (outcome !== null) return { "text/plain": line, "text/html": head };
  const bars = stages
    .filter((stage) => stage.completed < stage.tasks)
    .slice(0, STAGES)
    .map(
      ({ stage, name, tasks: of, completed }) =>
        `<div style="font-size:smaller"><progress max="${of}" value="${completed}"></progress> stage ${stage}: ${completed}/${of} ${escapeHtml(name.slice(0, 80))}</div>`,
    );
  return { "text/plain": line, "text/html": head + bars.join("") };
};

interface Sums {
  readonly stages: number;
  readonly tasks: number;
  readonly done: number;
  readonly active: number;
  readonly failed: number;
}

const summary = ({ jobs, elapsedMs, outcome }: Progress, { stages, tasks, done, active, failed }: Sums): string => {
  const time = seconds(elapsedMs);
  const counted = `${plural(jobs.length, "job")}, ${plural(stages, "stage")}`;
  const troubles = failed === 0 ? "" : `, ${failed} failed`;
  if (outcome !== null) return `Spark: ${counted}, ${plural(outcome === "ok" ? tasks : done, "task")}${troubles} in ${time}`;
  const percent = tasks === 0 ? 0 : Math.floor((100 * done) / tasks);
  const rate = elapsedMs > 0 ? (done / elapsedMs) * 1_000 : 0;
  return `Spark: ${percent}% · ${done}/${tasks} tasks (${active} running${troubles}) · ${counted} · ${rate.toFixed(rate < 10 ? 1 : 0)} tasks/s · ${time}`;
};

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`;
