import type { Claim, SessionEnd } from "./ports.ts";

/** The longest pause between two attempts. */
const BACKOFF_LIMIT_MS = 60 * 60_000;

/** When the attempt may begin that is to follow this end, Unix ms; null: none follows. The same whoever asks. */
export const nextAttemptMs = ({ spec, attempts }: Pick<Claim, "spec" | "attempts">, { cause, endedMs }: SessionEnd): number | null => {
  const retry = spec.application?.retry;
  if (retry === undefined || cause === undefined || !retry.on.includes(cause)) return null;
  const begun = attempts.length + 1;
  if (begun >= retry.maxAttempts) return null;
  return endedMs + Math.min(BACKOFF_LIMIT_MS, retry.backoffMs * 2 ** (begun - 1));
};
