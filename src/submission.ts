import { parseArgs } from "node:util";
import { SERVER_FLAGS } from "./config.ts";

/** What `longwick submit` was told. */
export interface Submission {
  readonly url: string | null;
  readonly token: string | null;
  readonly wait: boolean;
  /** Whether the log is what goes to standard output. */
  readonly follow: boolean;
  /** Whether an interrupt ends the batch too. */
  readonly kill: boolean;
  readonly idempotencyKey: string | null;
  /** As `POST /batches` takes it, but for its paths: those of this machine are as they were written. */
  readonly body: BatchBody;
  /** Flags of the server that is started when there is none. */
  readonly rest: readonly string[];
}

export interface BatchBody {
  readonly file: string;
  readonly args: readonly string[];
  readonly [field: string]: unknown;
}

/** The command line cannot be understood. */
export class SubmitUsageError extends Error {
  override readonly name = "SubmitUsageError";
}

/** Fields of `POST /batches` and how their flags are read. */
const FIELD_FLAGS = {
  name: { field: "name", kind: "text" },
  class: { field: "className", kind: "text" },
  conf: { field: "conf", kind: "pairs" },
  jars: { field: "jars", kind: "list" },
  "py-files": { field: "pyFiles", kind: "list" },
  files: { field: "files", kind: "list" },
  archives: { field: "archives", kind: "list" },
  preset: { field: "preset", kind: "text" },
  "proxy-user": { field: "proxyUser", kind: "text" },
  "driver-memory": { field: "driverMemory", kind: "text" },
  "driver-cores": { field: "driverCores", kind: "count" },
  "executor-memory": { field: "executorMemory", kind: "text" },
  "executor-cores": { field: "executorCores", kind: "count" },
  "num-executors": { field: "numExecutors", kind: "count" },
  queue: { field: "queue", kind: "text" },
  ttl: { field: "ttl", kind: "text" },
  retry: { field: "maxAttempts", kind: "count" },
  "retry-backoff": { field: "backoffSeconds", kind: "count" },
  "retry-on": { field: "on", kind: "list" },
} as const satisfies Record<string, { field: string; kind: "text" | "count" | "list" | "pairs" }>;
type FieldFlag = keyof typeof FIELD_FLAGS;
const SWITCHES = ["wait", "follow", "kill-on-interrupt", "help"] as const;
const TEXTS = ["url", "token", "idempotency-key", "args-json"] as const;

const OPTIONS = {
  ...SERVER_FLAGS,
  ...Object.fromEntries(SWITCHES.map((name) => [name, { type: "boolean" as const }])),
  ...Object.fromEntries([...TEXTS, ...Object.keys(FIELD_FLAGS)].map((name) => [name, { type: "string" as const }])),
  help: { type: "boolean" as const, short: "h" },
};

/**
 * Reads the words after `submit`: those after the FILE are the application's own. null: help is asked for.
 * @throws SubmitUsageError
 */
export const readSubmission = (argv: readonly string[]): Submission | null => {
  const { tokens } = parseArgs({ args: [...argv], options: OPTIONS, strict: false, allowPositionals: true, tokens: true });
  const end = tokens.find(({ kind }) => kind !== "option")?.index ?? argv.length;
  const given = new Map<string, string[]>();
  const rest: string[] = [];
  for (const token of tokens) {
    if (token.kind !== "option" || token.index >= end) continue;
    const { name, rawName, value } = token;
    const isSwitch = SWITCHES.some((known) => known === name);
    if (isSwitch || TEXTS.some((known) => known === name) || Object.hasOwn(FIELD_FLAGS, name)) {
      if (!isSwitch && value === undefined) throw new SubmitUsageError(`${rawName} needs a value.`);
      if (isSwitch && value !== undefined) throw new SubmitUsageError(`${rawName} takes no value.`);
      given.set(name, [...(given.get(name) ?? []), value ?? ""]);
    } else rest.push(value === undefined ? rawName : `${rawName}=${value}`);
  }
  if (given.has("help")) return null;
  const [file, ...args] = argv.slice(argv[end] === "--" ? end + 1 : end);
  if (file === undefined) throw new SubmitUsageError("longwick submit takes a FILE, an application's Python file or jar, and its ARGS.");
  const last = (name: (typeof TEXTS)[number]) => given.get(name)?.at(-1) ?? null;
  return {
    ...{ url: last("url"), token: last("token"), idempotencyKey: last("idempotency-key"), rest },
    ...{ wait: given.has("wait") || given.has("follow"), follow: given.has("follow"), kill: given.has("kill-on-interrupt") },
    body: { file, args: [...readArgsJson(last("args-json")), ...args], ...fieldsOf(given) },
  };
};

/** Arguments that whoever makes the command line has as one text, a workflow's template say. */
const readArgsJson = (json: string | null): readonly string[] => {
  if (json === null) return [];
  try {
    const args: unknown = JSON.parse(json);
    if (Array.isArray(args) && args.every((arg) => ["string", "number", "boolean"].includes(typeof arg))) return args.map(String);
  } catch {
    // Said below.
  }
  throw new SubmitUsageError(`--args-json takes a JSON list like ["2026-11-21", "--full"], not ${json}.`);
};

const fieldsOf = (given: ReadonlyMap<string, readonly string[]>): object => {
  const fields: Record<string, unknown> = {};
  const retry: Record<string, unknown> = {};
  for (const [flag, { field, kind }] of Object.entries(FIELD_FLAGS)) {
    const texts = given.get(flag);
    if (texts === undefined) continue;
    (flag.startsWith("retry") ? retry : fields)[field] = readValue(flag as FieldFlag, kind, texts);
  }
  return Object.keys(retry).length === 0 ? fields : { ...fields, retry };
};

const readValue = (flag: FieldFlag, kind: "text" | "count" | "list" | "pairs", texts: readonly string[]): unknown => {
  const text = texts.at(-1) ?? "";
  switch (kind) {
    case "text":
      return text;
    case "count":
      if (!/^\d{1,9}$/.test(text)) throw new SubmitUsageError(`--${flag} takes a whole number, not ${text}.`);
      return Number(text);
    case "list":
      return texts.flatMap((list) => list.split(",").filter((item) => item !== ""));
    case "pairs":
      return Object.fromEntries(texts.map((pair) => readPair(flag, pair)));
  }
};

const readPair = (flag: FieldFlag, pair: string): readonly [string, string] => {
  const at = pair.indexOf("=");
  if (at < 1) throw new SubmitUsageError(`--${flag} takes KEY=VALUE, not ${pair}.`);
  return [pair.slice(0, at), pair.slice(at + 1)];
};
