const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export const escapeHtml = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? character);

/** A duration as people read it: `0.8 s`, `12 s`, `3 min 5 s`. */
export const seconds = (ms: number): string => {
  const whole = Math.round(ms / 1_000);
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1)} s`;
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
};

/** A line beside a cell's own output: small, and in the front end's colour for what is secondary, which can be read in each of its themes. */
export const asideHtml = (html: string): string => `<div style="font-size:smaller;color:var(--jp-ui-font-color2, GrayText)">${html}</div>`;
