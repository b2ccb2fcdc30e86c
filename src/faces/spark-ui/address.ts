import { Problem } from "../../core/problems.ts";

/** What is asked for below a session's or a batch's `/ui`. */
export interface UiAddress {
  /** `~` and what follows it; empty when the address holds none. */
  readonly ticket: string;
  /** As Spark's UI knows it, still encoded; begins with a slash. */
  readonly path: string;
  /** With its question mark; empty when there is none. */
  readonly query: string;
  /** Whether Spark would end a job or a stage. */
  readonly kills: boolean;
}

const BELOW_UI = /^\/+(?:sessions|batches)\/+[^/?]+\/+ui(?:\/+(~[\w-]*))?(\/[^?]*)?(\?.*)?$/s;
/** Spark kills on GET too, at whatever stands below these (`createRedirectHandler` in its SparkUI and StagesTab). */
const KILLS = /^\/(jobs\/job|stages\/stage)\/kill(\/|$)/;
/** What might carry somebody's credentials. */
const SECRET_PARAMETER = /^(access_)?token(=|$)/i;

/**
 * Reads a request's address below the base path.
 * @throws Problem NOT_FOUND for spellings that Spark might read otherwise than we do
 */
export const uiAddress = (url: string): UiAddress => {
  const [, ticket = "", path = "/", query = ""] = BELOW_UI.exec(url) ?? refuse();
  const plain = decoded(path);
  if (/[;\\]|\p{Cc}|\/\.{0,2}\/|\/\.{1,2}$/u.test(plain) || plain.includes("%")) refuse();
  return { ticket, path, query: withoutSecrets(query), kills: KILLS.test(plain) };
};

const decoded = (path: string): string => {
  try {
    return decodeURIComponent(path);
  } catch {
    return refuse();
  }
};

const withoutSecrets = (query: string): string => {
  const parameters = query.slice(1).split("&");
  const kept = parameters.filter((parameter) => !SECRET_PARAMETER.test(parameter));
  return kept.length === parameters.length ? query : kept.length === 0 ? "" : `?${kept.join("&")}`;
};

const refuse = (): never => {
  throw new Problem("NOT_FOUND", "Nothing is at this address of Spark's UI.");
};
