import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from "fastify";

export const METHODS_THAT_CHANGE: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH", "DELETE"]);

/**
 * Writes one line about a request: fields, never code, outputs, conf, tokens or what stands in an address besides ids. What succeeds and
 * changes nothing is polled all day long, so it is told only to those who debug.
 */
export const logAccess = (log: FastifyBaseLogger, request: FastifyRequest, reply: FastifyReply): void => {
  const { statusCode: status } = reply;
  const polled = status < 400 && !METHODS_THAT_CHANGE.has(request.method);
  if (polled && log.level !== "debug" && log.level !== "trace") return;
  const line = {
    ...{ requestId: request.id, method: request.method, route: request.routeOptions.url ?? null, ...numbersOf(request.params) },
    ...{ status, ms: Math.round(reply.elapsedTime * 10) / 10, bytes: Number(reply.getHeader("content-length") ?? 0) },
    ...{ user: request.caller.name, remote: request.caller.remote },
  };
  if (polled) log.debug(line, "request");
  else log.info(line, "request");
};

/** The ids an address holds, for logs and audit: a name may be anything, a number tells nothing. Batches are numbered with sessions. */
export const numbersOf = (params: unknown): { session?: number; statement?: number } => {
  if (typeof params !== "object" || params === null) return {};
  const named: { session?: unknown; batch?: unknown; statement?: unknown } = params;
  const session = Number(named.session ?? named.batch);
  const statement = Number(named.statement);
  return { ...(Number.isSafeInteger(session) ? { session } : {}), ...(Number.isSafeInteger(statement) ? { statement } : {}) };
};
