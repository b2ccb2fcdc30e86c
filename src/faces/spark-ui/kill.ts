import type { UiAddress } from "./address.ts";

/** Spark's own names; the token is a secret between Spark's pages and Spark (since 4.2), and means nothing here. */
const FIELDS = ["id", "terminate", "csrfToken"] as const;
/** A form of these needs no more. */
export const KILL_BODY_BYTES = 4 * 1024;

/** What a request to kill says of it, in its address or as a form. */
export interface KillForm {
  /** In words for the user. */
  readonly question: string;
  /** What its body said, and has to be said again. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** Reads a request whose address kills. `body`: as it came, whatever it is. */
export const killForm = ({ path, query }: UiAddress, body: unknown, session: number): KillForm => {
  const form = new URLSearchParams(typeof body === "string" ? body : "");
  const fields = FIELDS.flatMap((name) => form.getAll(name).map((value) => [name, value] as const));
  const id = form.get("id") ?? new URLSearchParams(query).get("id") ?? "";
  const what = path.startsWith("/jobs") ? "job" : "stage";
  return { question: `Kill ${what} ${/^\d{1,10}$/.test(id) ? id : "?"} of session ${session}?`, fields };
};

/** The form as Spark takes it. */
export const killBody = ({ fields }: KillForm): string => {
  const form = new URLSearchParams();
  for (const [name, value] of fields) form.append(name, value);
  return form.toString();
};
