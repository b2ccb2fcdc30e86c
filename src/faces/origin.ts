import { Problem } from "../core/problems.ts";

export interface OriginRules {
  /** Whether callers must say who they are; without, a browser lured by a foreign name would be let in. */
  readonly authenticated: boolean;
  /** Names besides loopback's by which the server may be called while nobody logs in. */
  readonly hostNames: readonly string[];
  /** Web origins besides the server's own whose pages may call. */
  readonly origins: readonly string[];
}

/**
 * Refuses to be called by a name that somebody made to resolve to this machine (DNS rebinding): it shows in `Host`.
 * @throws Problem FORBIDDEN
 */
export const checkHost = (host: string, rules: OriginRules): void => {
  if (rules.authenticated || isOwnName(hostNameOf(host), rules.hostNames)) return;
  throw new Problem(
    "FORBIDDEN",
    `Host '${clip(host)}' is none of this server's names. Add it to \`hostNames\` or switch authentication on.`,
  );
};

/** Who makes a browser send a request; a page of an origin that nobody allowed is foreign, and may drive nothing through a visitor. */
export type Sender = "program" | "own page" | "allowed page" | "foreign page";

/** A page of another origin shows it in `Origin`. */
export const senderOf = (host: string, origin: string | undefined, rules: OriginRules): Sender => {
  if (origin === undefined) return "program";
  if (rules.origins.includes(origin)) return "allowed page";
  return hostOf(origin) === plainHost(host) ? "own page" : "foreign page";
};

const isOwnName = (name: string, hostNames: readonly string[]): boolean =>
  name === "localhost" || name === "[::1]" || /^127(\.\d{1,3}){3}$/.test(name) || hostNames.includes(name);

const hostNameOf = (host: string): string => host.toLowerCase().replace(/:\d*$/, "").replace(/\.$/, "");
const plainHost = (host: string): string => host.toLowerCase().replace(/:(80|443)$/, "");

/** Name and port of an origin; null for one without, as sandboxed pages have. */
const hostOf = (origin: string): string | null => {
  try {
    return plainHost(new URL(origin).host);
  } catch {
    return null;
  }
};

export const foreignPage = (origin: string | undefined): Problem =>
  new Problem("FORBIDDEN", `Pages of origin '${clip(origin ?? "")}' may not call this server.`);

const clip = (text: string): string => text.slice(0, 100);
