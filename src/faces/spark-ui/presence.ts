import type { Life } from "../../core/life.ts";
import { Problem } from "../../core/problems.ts";

/** Where Spark's UI is in the driver's own words, which nobody should follow; null while there is none to be shown. */
export const uiUrlOf = ({ end, facts }: Life): string | null => (end === null ? (facts?.uiUrl ?? null) : null);

/**
 * Whether there is a UI to be shown, as far as that is known without asking the driver.
 * @throws Problem NOT_FOUND (the session has ended, or its Spark shows no UI), DRIVER_UNREACHABLE (not yet)
 */
export const checkUi = ({ id, state, end, facts }: Life): void => {
  if (end !== null) throw new Problem("NOT_FOUND", `Session ${id} has ended (${state}), and Spark's UI with it.`);
  if (facts === null) throw new Problem("DRIVER_UNREACHABLE", `Spark's UI is not there yet: session ${id} is in state ${state}.`);
  if (facts.uiUrl === null) throw new Problem("NOT_FOUND", `Spark shows no UI in session ${id} (spark.ui.enabled=false).`);
};
