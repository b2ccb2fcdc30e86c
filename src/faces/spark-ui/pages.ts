import type { KillForm } from "./kill.ts";

/** Pages of our own in place of Spark's: no scripts, nothing from elsewhere, not to be framed. */
export const PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em}button{font:inherit;padding:.3em 1em}";

const page = (title: string, head: string, body: string): string =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${text(title)}</title><style>${STYLE}</style>${head}</head>` +
  `<body><h1>${text(title)}</h1>${body}</body></html>`;

/** Why there is no UI; looks again by itself when waiting may help. */
export const noticePage = (message: string, again: boolean): string =>
  page("Spark UI", again ? '<meta http-equiv="refresh" content="3">' : "", `<p>${text(message)}</p>`);

/** Asks whether a job or a stage shall be killed; the button sends the fields to the same address, as a POST. */
export const confirmPage = ({ question, fields }: KillForm): string => {
  const inputs = fields.map(([name, value]) => `<input type="hidden" name="${text(name)}" value="${text(value)}">`);
  return page("Spark UI", "", `<p>${text(question)}</p><form method="post">${inputs.join("")}<button>Kill it</button></form>`);
};

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const text = (plain: string): string => plain.replaceAll(/[&<>"]/g, (character) => ENTITIES[character] ?? "");
