import type { FastifyBaseLogger } from "fastify";
import { onAudit, onSession } from "../core/events.ts";

/** Logs what the core says of itself until the returned function is called. Code, outputs, tokens and conf values are in no event. */
export const logEvents = (log: FastifyBaseLogger): (() => void) => {
  const stops = [
    onAudit((event) => log.info({ audit: event }, "audit")),
    onSession(({ event, ...rest }) => (event === "fault" ? log.error(rest, event) : log.info(rest, event))),
  ];
  return () => {
    for (const stop of stops) stop();
  };
};
