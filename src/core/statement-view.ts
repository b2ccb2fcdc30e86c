import type { Kind, RecordFrame } from "../protocol/frames.ts";
import type { StatementState } from "./states.ts";

export type Output =
  | { readonly type: "stream"; readonly name: "stdout" | "stderr"; readonly via: "python" | "process"; text: string }
  | { readonly type: "display"; data: MimeBundle; metadata: MimeBundle; readonly displayId: string | null }
  | { readonly type: "result"; readonly data: MimeBundle; readonly metadata: MimeBundle }
  | { readonly type: "error"; readonly ename: string; readonly evalue: string; readonly traceback: readonly string[] }
  | { readonly type: "dropped"; readonly bytes: number };
export type MimeBundle = Readonly<Record<string, unknown>>;

export type Outcome = "ok" | "error" | "cancelled" | "lost";
export type Job = RecordFrame<"progress">["jobs"][number];

/** A statement as the records tell it. */
export interface StatementView {
  readonly id: number;
  readonly key: string;
  readonly code: string;
  readonly kind: Kind;
  readonly origin: unknown;
  readonly silent: boolean;
  readonly state: StatementState;
  /** Unix time in milliseconds; 0 = not yet. */
  readonly queuedMs: number;
  readonly startedMs: number;
  readonly finishedMs: number;
  readonly outcome: Outcome | null;
  /** Which rung of the cancel ladder ended it. */
  readonly rung: RecordFrame<"finished">["rung"];
  /** 0 to 1, never falling; 1 when final. */
  readonly progress: number;
  readonly jobs: readonly Job[];
  /** The first record that told of jobs when it had run for longer than JOBS_SHOWN_MS; 0: none yet. */
  readonly jobsSeq: number;
  /** Its number in the interpreter's history, from 1, or the last number when it has no place there; 0: it has not started. */
  readonly count: number;
  /** What it has for the front end that sent it, besides outputs. */
  readonly returned: Pick<RecordFrame<"returned">, "payload" | "expressions"> | null;
  readonly outputs: readonly Output[];
  /** The `input()` that waits for its answer, and the record that told of it. */
  readonly input: { readonly prompt: string; readonly password: boolean; readonly seq: number } | null;
  /** Grows with every change. */
  readonly revision: number;
  /** False when code or outputs were let go to save memory: `Session.statement` reads them back. */
  readonly whole: boolean;
  /** The records that belong to it lie between these. */
  readonly firstSeq: number;
  readonly lastSeq: number;
}

/** Jobs of statements that end sooner are of no interest to anybody. */
export const JOBS_SHOWN_MS = 500;
