import type { IncomingHttpHeaders } from "node:http";

/**
 * Brings an answer into the form in which a recording and a live server can be compared: what belongs to one run (ids, times, paths,
 * addresses, ports, log lines) is replaced by what is meant.
 */
export interface Naming {
  /** The id our server gave to the session with this id. */
  session(id: number): number | undefined;
  statement(id: number): number | undefined;
  /** Statements that only hold the place of a pending one. */
  isPlaceholder(id: number): boolean;
  /** By how many statements a list is longer than it says, because the other server took or refused more. */
  readonly extraStatements: number;
}

/** For our own answers. */
export const AS_IT_IS = (isPlaceholder: (id: number) => boolean): Naming => ({
  session: (id) => id,
  statement: (id) => id,
  isPlaceholder,
  extraStatements: 0,
});

const COMPARED_HEADERS = ["content-type", "location", "allow", "www-authenticate", "content-encoding"] as const;
const OPEN_STATES: ReadonlySet<unknown> = new Set(["waiting", "running", "available"]);

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);

export interface Normal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

export const normalise = (
  method: string,
  path: string,
  answer: { readonly status: number; readonly headers: IncomingHttpHeaders | Readonly<Record<string, string>>; readonly body: unknown },
  naming: Naming,
): Normal => {
  const headers: Record<string, string> = {};
  for (const name of COMPARED_HEADERS) {
    const value = answer.headers[name];
    if (typeof value === "string") headers[name] = normaliseHeader(name, value, naming);
  }
  const body = headers["content-encoding"] === undefined ? normaliseBody(method, path, shorten(answer.body), naming) : "[compressed]";
  return { status: answer.status, headers, body };
};

const normaliseHeader = (name: string, value: string, naming: Naming): string => {
  if (name === "content-type") return value.toLowerCase().replaceAll(" ", "");
  if (name === "allow") return value.split(/, */).sort().join(", ");
  if (name !== "location") return value;
  return value
    .replace(/^https?:\/\/[^/]+/, "http://SERVER")
    .replace(
      /^(\/(?:sessions|batches)\/)(\d+)((?:\/statements\/)(\d+))?$/,
      (_all, head: string, session: string, _tail, statement: string | undefined) => {
        const place = statement === undefined ? "" : `/statements/${naming.statement(Number(statement)) ?? statement}`;
        return `${head}${naming.session(Number(session)) ?? session}${place}`;
      },
    );
};

const normaliseBody = (method: string, path: string, body: unknown, naming: Naming): unknown => {
  if (typeof body === "string") return text(body, naming);
  if (!isFields(body)) return body;
  if ("output" in body && "progress" in body) return statement(body, naming, method === "POST");
  if ("appInfo" in body) return session(body, naming);
  if (Array.isArray(body["statements"])) return statements(body, body["statements"], naming);
  if (Array.isArray(body["sessions"])) return sessions(body, body["sessions"], naming);
  if ("log" in body && "total" in body) return logPage(path, body, naming);
  if ("date" in body && "revision" in body) return { ...body, date: "[date]" };
  const fields = Object.entries(body).map(([key, value]) => [key, key === "id" ? sessionId(value, naming) : leaves(value, naming)]);
  return Object.fromEntries(fields);
};

const sessionId = (id: unknown, naming: Naming): unknown => (typeof id === "number" ? (naming.session(id) ?? `unknown ${id}`) : id);

const session = (fields: Fields, naming: Naming): Fields => ({
  ...fields,
  id: sessionId(fields["id"], naming),
  log: isLines(fields["log"]) ? "[lines]" : fields["log"],
});

const isLines = (value: unknown): boolean => Array.isArray(value) && value.every((line) => typeof line === "string");

/** Sessions that do not belong to the sequence (another client's, in the recording) are left out. */
const sessions = (fields: Fields, list: readonly unknown[], naming: Naming): Fields => {
  const known = list.filter((item) => isFields(item) && typeof item["id"] === "number" && naming.session(item["id"]) !== undefined);
  return {
    ...fields,
    total: Number(fields["total"]) - (list.length - known.length),
    sessions: known.map((item) => (isFields(item) ? session(item, naming) : item)),
  };
};

/** What each statement of a list put out is compared where it was asked for by itself. */
const statements = (fields: Fields, list: readonly unknown[], naming: Naming): Fields => ({
  total_statements: Number(fields["total_statements"]) + naming.extraStatements,
  statements: list.map((item) => {
    if (isFields(item)) return { ...statement(item, naming, false), ...(isFields(item["output"]) ? { output: "[output]" } : {}) };
    const cut = /^\.\.\. (\d+) items$/.exec(String(item));
    return cut === null ? item : `... ${Number(cut[1]) + naming.extraStatements} items`;
  }),
});

/** A statement that was just posted may be anywhere between waiting and available. */
const statement = (fields: Fields, naming: Naming, posted: boolean): Fields => {
  const id = Number(fields["id"]);
  const ours = naming.statement(id) ?? `unknown ${id}`;
  if (naming.isPlaceholder(Number(ours))) return { id: ours, placeholder: true };
  if (posted && OPEN_STATES.has(fields["state"])) return { ...fields, id: ours, ...POSTED };
  const { output } = fields;
  return {
    ...fields,
    id: ours,
    output: isFields(output) ? normaliseOutput(output, id, ours, naming) : output,
    progress: fields["state"] === "running" ? "[fraction]" : fields["progress"],
    started: isTime(fields["started"]),
    completed: isTime(fields["completed"]),
  };
};

const POSTED = { state: "[accepted]", output: "[open]", progress: "[fraction]", started: "[time]", completed: "[time]" };

const isTime = (value: unknown): unknown => (typeof value !== "number" ? value : value === 0 ? "not yet" : value > 1e12 ? "[ms]" : value);

const normaliseOutput = (output: Fields, id: number, ours: number | string, naming: Naming): Fields => ({
  ...Object.fromEntries(Object.entries(output).map(([key, value]) => [key, leaves(value, naming)])),
  execution_count: output["execution_count"] === id ? ours : output["execution_count"],
});

const leaves = (value: unknown, naming: Naming): unknown => {
  if (typeof value === "string") return text(value, naming);
  if (Array.isArray(value)) return value.map((item) => leaves(item, naming));
  if (!isFields(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      key === "image/png" && typeof item === "string" ? (item.startsWith("iVBORw0KGgo") ? "[png]" : item) : leaves(item, naming),
    ]),
  );
};

const text = (value: string, naming: Naming): string => {
  if (/^(<!doctype|<html|\[HTML page)/i.test(value.trimStart())) return "[HTML page]";
  return value
    .replaceAll(/0x[0-9a-f]{6,}/g, "0xADDRESS")
    .replaceAll(/[^\s"']*site-packages\/(pyspark\/python\/lib\/pyspark\.zip\/)?/g, "SITE/")
    .replaceAll(/\/[^\s"']*\/lib\/(pyspark\.zip|py4j-[\d.]+-src\.zip)\//g, "SITE/")
    .replaceAll(/for session \d+/g, "for session N")
    .replaceAll(/Session '(\d+)'/g, (_all, id: string) => `Session '${naming.session(Number(id)) ?? id}'`);
};

/** Positions in a log belong to a run; what was asked for does not. */
const logPage = (path: string, fields: Fields, naming: Naming): Fields => {
  const query = new URLSearchParams(path.split("?")[1] ?? "");
  const [from, total] = [Number(fields["from"]), Number(fields["total"])];
  const size = Number(query.get("size") ?? 100);
  const tail = Math.max(0, size < 0 ? 0 : total - size);
  const asked = query.get("from");
  return {
    id: sessionId(fields["id"], naming),
    from: asked !== null && Number(asked) === from ? "as asked" : from === tail ? "the tail" : from,
    total: Number.isInteger(total) ? "[lines so far]" : fields["total"],
    log: isLines(fields["log"]) ? (Array.isArray(fields["log"]) && fields["log"].length === 0 ? "[none]" : "[lines]") : fields["log"],
  };
};

/** What the recorder did to long values, so that both sides are cut alike. */
const LONG = 6000;
const shorten = (value: unknown, limit = LONG): unknown => {
  if (typeof value === "string") {
    const kept = tidy(value);
    return kept.length <= limit || /\.\.\. \[\d+ characters\]$/.test(kept) ? kept : `${kept.slice(0, 120)}... [${kept.length} characters]`;
  }
  if (Array.isArray(value)) {
    const kept = value.map((item) => shorten(item, 1500));
    return kept.length <= 12 ? kept : [...kept.slice(0, 6), `... ${kept.length} items`];
  }
  if (!isFields(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, key === "log" ? item : shorten(item, limit)]));
};

const tidy = (value: string): string => {
  const stack = value.indexOf("\n\tat ");
  return stack < 0 ? value : `${value.slice(0, stack)}\n[Java stack trace]`;
};
