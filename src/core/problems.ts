/**
 * Every refusal a caller can meet. `status` is the HTTP status faces answer with: 4xx for what will not get better by trying again,
 * 503 only where nothing was begun (clients repeat 5xx, POSTs too).
 */
export const PROBLEMS = {
  INVALID: { status: 400, meaning: "The request is malformed; the message says where." },
  SPEC_REFUSED: { status: 400, meaning: "The session asked for is not allowed or not possible." },
  NAME_TAKEN: { status: 400, meaning: "Another session or schedule has this name." },
  TOO_MANY_SESSIONS: { status: 400, meaning: "A limit on sessions is reached." },
  TOO_MANY_SCHEDULES: { status: 400, meaning: "The user has as many schedules as one may have." },
  TOO_MANY_STATEMENTS: { status: 400, meaning: "The session's queue is full." },
  KIND_UNAVAILABLE: { status: 400, meaning: "This kind of statement cannot run here." },
  SESSION_STARTING: { status: 400, meaning: "The session did not become ready in time; nothing was queued." },
  SESSION_ENDED: { status: 400, meaning: "The session has ended; its log says why." },
  UNAUTHENTICATED: { status: 401, meaning: "Say who you are." },
  FORBIDDEN: { status: 403, meaning: "You may not do this." },
  SESSION_NOT_FOUND: { status: 404, meaning: "No such session." },
  STATEMENT_NOT_FOUND: { status: 404, meaning: "No such statement." },
  SCHEDULE_NOT_FOUND: { status: 404, meaning: "No such schedule." },
  UPLOAD_NOT_FOUND: { status: 404, meaning: "No such upload." },
  NOT_FOUND: { status: 404, meaning: "No such address." },
  METHOD_NOT_ALLOWED: { status: 405, meaning: "The address exists, the method does not." },
  NOT_ACCEPTABLE: { status: 406, meaning: "No such version of the API." },
  UPLOAD_IN_USE: { status: 409, meaning: "A session or batch that has not ended names the upload, or a schedule." },
  TOO_LARGE: { status: 413, meaning: "The request is over the limit." },
  OVER_QUOTA: { status: 413, meaning: "The user's uploads take all that one user's may." },
  NOT_SUPPORTED: { status: 501, meaning: "Livy offers this, Longwick does not." },
  TOO_MANY_ATTEMPTS: { status: 429, meaning: "Too many wrong passwords or tokens from this address; wait a minute." },
  DRIVER_UNREACHABLE: { status: 503, meaning: "The driver cannot be reached now; nothing was begun." },
  STORAGE_UNREACHABLE: { status: 503, meaning: "The store of uploads cannot be used now; nothing was kept." },
  STORAGE_FULL: { status: 507, meaning: "The store of uploads is full; nothing was kept." },
  DRAINING: { status: 503, meaning: "The server is shutting down; nothing was begun." },
} as const satisfies Record<string, { status: number; meaning: string }>;
export type ProblemCode = keyof typeof PROBLEMS;

/** An error with a code, for a caller. Anything else that is thrown is a bug and becomes a 500. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly code: ProblemCode;
  /** As whom the caller wanted to act, when that is what was refused. */
  readonly proxyUser: string | null;

  constructor(code: ProblemCode, message: string, options: { cause?: unknown; proxyUser?: string } = {}) {
    super(message, options);
    this.code = code;
    this.proxyUser = options.proxyUser ?? null;
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }
}
