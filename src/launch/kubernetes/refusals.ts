import type { ApiError } from "./api.ts";
import { quantity } from "./quantity.ts";

/** What the API server's refusal of a driver means. */
export interface Refusal {
  /** Whether it may be granted later as it is. */
  readonly passing: boolean;
  readonly reason: string;
}

/** A refusal in words for the person who asked for the driver. */
export const readRefusal = (error: ApiError): Refusal => {
  const { status, message } = error;
  const quota = status === 403 ? /exceeded quota: [^,]+, requested: (.*), used: (.*), limited: (.*)$/s.exec(message) : null;
  if (quota === null) return { passing: false, reason: `Kubernetes refused the driver (${error.reason || status}): ${message}` };
  const [, requested = "", , limited = ""] = quota;
  if (isWithin(requested, limited)) return { passing: true, reason: `The namespace's quota is used up: ${message}` };
  return { passing: false, reason: `The driver is larger than the namespace's whole quota: ${message}` };
};

/** Whether each of the amounts (`requests.memory=1434Mi,pods=1`) is within its limit; what cannot be read is taken to be. */
const isWithin = (requested: string, limited: string): boolean => {
  const limits = amounts(limited);
  return [...amounts(requested)].every(([name, amount]) => !(amount > (limits.get(name) ?? Number.POSITIVE_INFINITY)));
};

const amounts = (text: string): ReadonlyMap<string, number> =>
  new Map(
    text.split(",").map((pair) => {
      const at = pair.lastIndexOf("=");
      return [pair.slice(0, at).trim(), quantity(pair.slice(at + 1).trim())];
    }),
  );
