import { Problem, type ProblemCode } from "../core/problems.ts";

/** Refusals that say somebody tried what he may not, or more than he may: audited whatever was asked. */
export const AUDITED_REFUSALS: ReadonlySet<ProblemCode> = new Set([
  "UNAUTHENTICATED",
  "TOO_MANY_ATTEMPTS",
  "FORBIDDEN",
  "SPEC_REFUSED",
  "KIND_UNAVAILABLE",
  "TOO_MANY_SESSIONS",
  "TOO_MANY_SCHEDULES",
  "TOO_MANY_STATEMENTS",
  "OVER_QUOTA",
]);

/** The problem behind whatever a handler or fastify itself threw; null for a bug of ours. */
export const asProblem = (error: unknown, bodyLimitBytes: number): Problem | null => {
  if (error instanceof Problem) return error;
  if (!(error instanceof Error)) return null;
  const { code, statusCode } = readFastifyError(error);
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE") {
    return new Problem("TOO_LARGE", `The body is larger than ${bodyLimitBytes} bytes, the limit here.`, { cause: error });
  }
  if (error.name === "TimeoutError") return new Problem("DRIVER_UNREACHABLE", "The driver did not answer in time.", { cause: error });
  if (code?.startsWith("FST_") && statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new Problem("INVALID", error.message, { cause: error });
  }
  return null;
};

const readFastifyError = (error: Error): { code: string | undefined; statusCode: number | undefined } => ({
  code: "code" in error && typeof error.code === "string" ? error.code : undefined,
  statusCode: "statusCode" in error && typeof error.statusCode === "number" ? error.statusCode : undefined,
});
