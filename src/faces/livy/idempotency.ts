import type { FastifyRequest } from "fastify";
import { Problem } from "../../core/problems.ts";

/**
 * The key under which a client sends the same request again; null when it named none.
 * @throws Problem INVALID
 */
export const readIdempotencyKey = ({ headers }: Pick<FastifyRequest, "headers">): string | null => {
  const key = headers["idempotency-key"];
  if (key === undefined) return null;
  if (typeof key !== "string" || !/^[!-~]{1,200}$/.test(key)) {
    throw new Problem("INVALID", "Idempotency-Key must be 1 to 200 printable ASCII characters without blanks.");
  }
  return key;
};
