import type { Session } from "./session.ts";

/** What the views of one server hold together, in bytes; what a session's own bound leaves, its newest statement above all, counts too. */
export const VIEWS_BYTES = 256 * 1024 * 1024;

/**
 * Lets go of what views hold until they are within the limit together, of those first that were used longest ago, and of ended ones last:
 * what a driver wrote may have gone with it. What is let go of is read back by whoever asks for it.
 */
export const shrinkViews = (sessions: readonly Session[], limitBytes: number): void => {
  let held = sessions.reduce((sum, { heldBytes }) => sum + heldBytes, 0);
  if (held <= limitBytes) return;
  const order = [...sessions].sort((a, b) => Number(a.end !== null) - Number(b.end !== null) || a.activityMs - b.activityMs);
  for (const session of order) {
    held -= session.heldBytes;
    session.letGo();
    held += session.heldBytes;
    if (held <= limitBytes) return;
  }
};
