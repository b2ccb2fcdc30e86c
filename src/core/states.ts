/** Livy's statement states. A failed statement is `available`; its error is its output. */
export const STATEMENT_NEXT = {
  waiting: ["running", "cancelled", "available"],
  running: ["available", "cancelling", "cancelled"],
  cancelling: ["cancelled", "available"],
  available: [],
  cancelled: [],
} as const satisfies Record<string, readonly string[]>;
export type StatementState = keyof typeof STATEMENT_NEXT;

/** Whether nothing follows a statement's state. */
export const isFinalStatement = (state: StatementState): boolean => STATEMENT_NEXT[state].length === 0;

/** Livy's eleven session states, with those that may follow. Clients know no other words. */
export const SESSION_NEXT = {
  not_started: ["starting", "dead", "killed"],
  starting: ["idle", "busy", "error", "shutting_down", "dead", "killed"],
  recovering: ["idle", "busy", "error", "dead", "killed"],
  idle: ["busy", "starting", "error", "shutting_down", "dead", "killed", "success"],
  busy: ["idle", "starting", "error", "shutting_down", "dead", "killed", "success"],
  running: ["success", "dead", "killed", "error", "shutting_down"],
  shutting_down: ["dead", "killed", "success", "error"],
  error: ["starting", "idle", "busy", "shutting_down", "dead", "killed"],
  dead: [],
  killed: [],
  success: [],
} as const satisfies Record<string, readonly string[]>;
export type SessionState = keyof typeof SESSION_NEXT;

/** States nothing follows: the session's workload is gone. */
export type EndState = { [State in SessionState]: (typeof SESSION_NEXT)[State] extends readonly [] ? State : never }[SessionState];

/** Whether the session has ended for good. */
export const isEnded = (state: SessionState): state is EndState => SESSION_NEXT[state].length === 0;

/**
 * Whose fault an attempt's end is: its workload was never there or never ran; it was taken away while it ran; the application itself
 * failed. An end that somebody wished, or that came by a rule of the driver's own, has none.
 */
export const END_CAUSES = ["submission-refused", "driver-lost", "non-zero-exit"] as const;
export type EndCause = (typeof END_CAUSES)[number];

/** Livy's words for a batch, with those that may follow. */
export const BATCH_NEXT = {
  starting: ["running", "success", "dead", "killed"],
  /** Another attempt starts anew. */
  running: ["starting", "success", "dead", "killed"],
  dead: [],
  killed: [],
  success: [],
} as const satisfies Partial<Record<SessionState, readonly SessionState[]>>;
export type BatchState = keyof typeof BATCH_NEXT;

/** A batch's state: an attempt that is stopped or being waited for is no end yet. */
export const batchState = (workload: WorkloadPhase, over: boolean): BatchState => {
  if (workload.phase === "ended") return over ? workload.state : "starting";
  return workload.phase === "pending" ? "starting" : "running";
};

/** What a launcher can say of a workload. */
export type WorkloadPhase =
  | { readonly phase: "pending"; readonly reason: string }
  /** `trouble`: what whoever uses it should know all the same. */
  | { readonly phase: "running"; readonly trouble?: string }
  /** `reason` is empty when the workload ended and nothing tells why. */
  | {
      readonly phase: "ended";
      readonly state: EndState;
      readonly reason: string;
      readonly logTail: readonly string[];
      readonly cause?: EndCause;
      /** An application's own. */
      readonly exitCode?: number;
      /** So many lines of the log are kept by the launcher; `logTail` is their end. */
      readonly logLines?: number;
    };

/** The facts a session's state is computed from. */
export interface SessionFacts {
  readonly workload: WorkloadPhase;
  /** Somebody asked for the end, or the driver said that it is ending. */
  readonly stopping: boolean;
  /** Why the driver can never be spoken to (no common protocol version, wrong key); null while it can. */
  readonly linkRefused: string | null;
  readonly interpreter: "unknown" | "starting" | "ready" | "exited";
  /** Statements that wait or run. */
  readonly openStatements: number;
}

/** A session's state, computed and never assigned (design.md §4). */
export const sessionState = (facts: SessionFacts): SessionState => {
  if (facts.workload.phase === "ended") return facts.workload.state;
  if (facts.stopping) return "shutting_down";
  if (facts.linkRefused !== null) return "error";
  if (facts.workload.phase === "pending" || facts.interpreter === "unknown") return "starting";
  if (facts.openStatements > 0 && facts.interpreter !== "exited") return facts.interpreter === "starting" ? "starting" : "busy";
  return facts.interpreter === "ready" ? "idle" : facts.interpreter === "exited" ? "error" : "starting";
};
