import { timingSafeEqual } from "node:crypto";
import type { Life } from "../../core/life.ts";

/**
 * What a driver serves is shown in a sandbox: such a page has no origin, so browsers send no credentials with what its scripts fetch, and
 * the executors and stages of Spark's UI are fetched by scripts. Their addresses hold a ticket in place of credentials: it lets whoever
 * has it look at this one UI, which the page that holds it is part of, for an hour or two. No driver can make one.
 */
const WINDOW_MS = 60 * 60_000;

const sealed = (session: Life, window: number): string => {
  const seal = session.seal(`spark-ui ${window}`);
  return seal === "" ? "" : `~${seal}`;
};

/** The same one for a while, so that browsers keep what they have fetched; empty when the session has ended. */
export const ticketOf = (session: Life, nowMs: number): string => sealed(session, Math.floor(nowMs / WINDOW_MS));

export const isTicketOf = (session: Life, ticket: string, nowMs: number): boolean => {
  const now = Math.floor(nowMs / WINDOW_MS);
  // Servers' clocks may differ a little.
  return [now, now - 1, now + 1].some((window) => sameText(ticket, sealed(session, window)));
};

const sameText = (given: string, wanted: string): boolean => {
  const [left, right] = [Buffer.from(given), Buffer.from(wanted)];
  return wanted !== "" && left.length === right.length && timingSafeEqual(left, right);
};
