/** A supervisor that crashes more often than this within the window is given up. */
export const RESTART_LIMIT = 3;
const RESTART_WINDOW_MS = 10 * 60_000;
/** The window, for a reason. */
export const TOO_OFTEN = `${RESTART_LIMIT} times within ten minutes`;

/** Those of these times that count. */
export const recentOf = (timesMs: readonly number[]): number[] => timesMs.filter((atMs) => atMs > Date.now() - RESTART_WINDOW_MS);
