import type { Session } from "../../core/session.ts";
import type { Connection } from "./connection.ts";

/** Where a client's browser finds Spark's UI: through this server, or at the driver itself; null while there is none. */
export const sparkUiFor = ({ id, facts }: Session, { options: { publicUrl } }: Connection): string | null => {
  const own = facts?.uiUrl ?? null;
  return own === null || publicUrl === null ? own : `${publicUrl}/sessions/${id}/ui/`;
};
