import type { Preset } from "../../core/presets.ts";
import { Problem } from "../../core/problems.ts";
import { REDACTED, redactedPart } from "../../core/redaction.ts";
import { sparkTimeMs } from "../../core/spark-time.ts";
import type { SessionKind, SessionSpec } from "../../core/spec.ts";
import type { Kind } from "../../protocol/frames.ts";
import { CreateSession } from "./schemas.ts";

export interface SpecRules {
  /** Kinds that drivers can run here. */
  readonly kinds: readonly Kind[];
  /** Conf keys nobody may set; `prefix.*` stands for all below it. */
  readonly refusedConf: readonly string[];
  /** When the request says none; 0: no limit. */
  readonly idleTimeoutMs: number;
  /** When the request says none; 0: no limit. */
  readonly ttlMs: number;
  /** Whether anybody may have Spark run as another user. Off, a `proxyUser` is ignored and the log says so, as Livy does. */
  readonly impersonation: boolean;
}

export interface SpecRequest {
  readonly body: CreateSession;
  /** The query's `doAs`; goes before the body's proxyUser. */
  readonly doAs: string | undefined;
  /** What lies beneath the body; null: nothing does. */
  readonly preset: Preset | null;
}

/** Livy's other names for kinds; they are shown as what they mean. */
const KIND_ALIASES: Readonly<Record<string, SessionKind>> = {
  shared: "shared",
  pyspark: "pyspark",
  python: "pyspark",
  sql: "sql",
  spark: "spark",
  scala: "spark",
  sparkr: "sparkr",
  r: "sparkr",
};
/** The longest name and user: both stand in paths, labels and logs. */
const NAME_LIMIT = 255;
const CONTROL = /\p{Cc}/u;

export const refuse = (reason: string): Problem => new Problem("SPEC_REFUSED", `Rejected, Reason: ${reason}`);

/**
 * The kind a word stands for.
 * @throws Problem INVALID for a word that is none
 */
export const readKind = (word: string): SessionKind => {
  const kind = Object.hasOwn(KIND_ALIASES, word) ? KIND_ALIASES[word] : undefined;
  if (kind === undefined)
    throw new Problem("INVALID", `Invalid kind: ${shown(word)}. It must be one of ${Object.keys(KIND_ALIASES).join(", ")}.`);
  return kind;
};

/**
 * The kind a statement or a completion is of.
 * @throws Problem INVALID when nobody named one, KIND_UNAVAILABLE when it cannot run here
 */
export const readStatementKind = (word: string | null | undefined, session: SessionKind, kinds: readonly Kind[]): Kind => {
  const kind = word === null || word === undefined ? session : readKind(word);
  if (kind === "shared") throw new Problem("INVALID", `The session is shared: say the statement's kind, one of ${kinds.join(", ")}.`);
  return checkAvailable(kind, kinds);
};

const checkAvailable = (kind: Kind, kinds: readonly Kind[]): Kind => {
  if (!kinds.includes(kind)) throw new Problem("KIND_UNAVAILABLE", `Kind ${kind} is not available here, only ${kinds.join(", ")}.`);
  return kind;
};

/**
 * A time string as Livy reads it, in milliseconds: a number and a unit (us, ms, s, m, min, h, d), milliseconds without one.
 * @throws Problem SPEC_REFUSED
 */
export const readTime = (value: string | number): number => {
  const ms = sparkTimeMs(String(value), "ms");
  if (Number.isNaN(ms)) throw refuse(`Invalid time string: ${shown(String(value))}. Write a whole number and its unit: 90s, 30m, 2h.`);
  return ms;
};

/** Where clients that can set nothing but conf name a preset. */
const PRESET_KEY = "spark.longwick.preset";

/**
 * The preset that is asked for; null for none.
 * @throws Problem SPEC_REFUSED
 */
export const readPresetName = ({ preset, conf }: Pick<CreateSession, "preset" | "conf">): string | null =>
  readText("preset", preset ?? textOf(conf?.[PRESET_KEY]));

const textOf = (value: string | number | boolean | null | undefined): string | null => (value == null ? null : String(value));

/**
 * What was asked for, checked, in one spelling; and what its reader should be told in the session's log.
 * @throws Problem INVALID, SPEC_REFUSED, KIND_UNAVAILABLE
 */
export const readSpec = ({ body, doAs, preset }: SpecRequest, rules: SpecRules): { spec: SessionSpec; notes: string[] } => {
  const notes = [...unknownFields(body, CreateSession), ...notesOn(farWheels(body), farWheelNote)];
  const kind = readKind(body.kind ?? preset?.kind ?? "shared");
  if (kind !== "shared") checkAvailable(kind, rules.kinds);
  const spec: SessionSpec = {
    kind,
    name: readName(body.name),
    proxyUser: readProxyUser(doAs ?? body.proxyUser, rules, notes),
    conf: readConf(body.conf ?? {}, rules, notes),
    jars: body.jars ?? [],
    pyFiles: body.pyFiles ?? [],
    files: body.files ?? [],
    archives: body.archives ?? [],
    driverMemory: readMemory("driverMemory", body.driverMemory),
    driverCores: Number(body.driverCores ?? 0),
    executorMemory: readMemory("executorMemory", body.executorMemory),
    executorCores: Number(body.executorCores ?? 0),
    numExecutors: Number(body.numExecutors ?? 0),
    queue: readText("queue", body.queue),
    ttl: body.ttl == null ? null : String(body.ttl),
    ttlMs: body.ttl == null ? (preset?.ttlMs ?? rules.ttlMs) : readTime(body.ttl),
    idleTimeout: body.idleTimeout == null ? null : String(body.idleTimeout),
    idleTimeoutMs: body.idleTimeout == null ? (preset?.idleTimeoutMs ?? rules.idleTimeoutMs) : readTime(body.idleTimeout),
    heartbeatTimeoutMs: Number(body.heartbeatTimeoutInSecond ?? 0) * 1_000,
    ...(preset === null ? {} : { preset: { name: preset.name, conf: preset.conf, limits: preset.limits } }),
  };
  return { spec: checkWhole(spec), notes };
};

/** Wheels that Spark itself fetches: only those that the driver has as files are given to executors as something they import. */
const farWheels = ({ pyFiles, conf }: Pick<CreateSession, "pyFiles" | "conf">): string[] =>
  [...(pyFiles ?? []), ...String(conf?.["spark.submit.pyFiles"] ?? "").split(",")].filter((uri) =>
    /^(?!file:|local:|upload:)[a-z][a-z0-9+.-]*:.*\.whl$/i.test(uri.trim()),
  );

/** By its name: an address may hold credentials. */
const farWheelNote = (uri: string): string =>
  `Wheel ${shown(uri.trim().replace(/^.*\//, ""))} can be imported in the driver alone: PySpark gives executors .py, .zip and .egg from an address. ` +
  "Store it there as .zip, or send it with POST /uploads.";

/** What a reader should be told of fields that are none. */
export const unknownFields = (body: object, { properties }: { readonly properties: object }): string[] =>
  notesOn(
    Object.keys(body).filter((field) => !Object.hasOwn(properties, field)),
    (field) => `Unknown field '${shown(field)}' of the request is ignored.`,
  );

/** A note on each of the names; of many, which a claim and every server would have to keep, on the first ones. */
const notesOn = (names: readonly string[], note: (name: string) => string): string[] => [
  ...names.slice(0, NOTES_LIMIT).map(note),
  ...(names.length > NOTES_LIMIT ? [`The same is true of ${names.length - NOTES_LIMIT} more.`] : []),
];
const NOTES_LIMIT = 50;

const readName = (name: string | null | undefined): string | null => {
  if (name == null) return null;
  // Digits alone would be taken for an id.
  if (name.trim() === "" || /^[+-]?\d+$/.test(name) || !isPlain(name))
    throw refuse(`Invalid session name: ${shown(name)}. It must not be empty or a number, or longer than ${NAME_LIMIT} characters.`);
  return name;
};

const readProxyUser = (proxyUser: string | null | undefined, rules: SpecRules, notes: string[]): string | null => {
  if (proxyUser == null || proxyUser === "") return null;
  if (!isPlain(proxyUser)) throw refuse(`Invalid proxyUser: ${shown(proxyUser)}`);
  if (rules.impersonation) return proxyUser;
  notes.push(`proxyUser '${shown(proxyUser)}' is ignored: impersonation is not switched on.`);
  return null;
};

const readText = (field: string, value: string | null | undefined): string | null => {
  if (value == null || value === "") return null;
  if (!isPlain(value)) throw refuse(`Invalid ${field}: ${shown(value)}`);
  return value;
};

const readMemory = (field: string, value: string | number | null | undefined): string | null => {
  if (value == null || value === "") return null;
  const memory = String(value).trim();
  if (!/^0*[1-9]\d{0,14}([kmgtp]b?|b)?$/i.test(memory))
    throw refuse(`Invalid ${field}: ${shown(memory)}. Write it as Spark does: 512m, 2g.`);
  return memory;
};

const readConf = (conf: NonNullable<CreateSession["conf"]>, rules: SpecRules, notes: string[]): Record<string, string> => {
  const entries: [string, string][] = [];
  const refused: string[] = [];
  const empty: string[] = [];
  for (const [key, value] of Object.entries(conf)) {
    if (key === PRESET_KEY) continue;
    // Anything looser would let a key pass the rules in one spelling and reach Spark in another.
    if (!/^[!-<>-~]{1,512}$/.test(key)) throw refuse(`Invalid configuration key: ${shown(key)}`);
    if (value === null) {
      empty.push(key);
      continue;
    }
    const text = String(value);
    if (text.includes("\0")) throw refuse(`The value of ${key} holds a NUL character.`);
    if (rules.refusedConf.some((rule) => (rule.endsWith(".*") ? key.startsWith(rule.slice(0, -1)) : key === rule))) refused.push(key);
    entries.push([key, text]);
  }
  notes.push(...notesOn(empty, (key) => `Configuration ${key} is null and was left out.`));
  if (refused.length > 0) throw refuse(`Blacklisted configuration values in session config: ${refused.join(", ")}`);
  return Object.fromEntries(entries);
};

/**
 * Whoever sends back what was shown to them would have the secret forgotten.
 * @throws Problem INVALID
 */
export const checkWhole = (spec: SessionSpec): SessionSpec => {
  const part = redactedPart(spec);
  if (part === null) return spec;
  throw new Problem("INVALID", `${shown(part)} holds ${REDACTED}, which stands for a secret that is not shown: send the secret itself.`);
};

const isPlain = (value: string): boolean => value.length <= NAME_LIMIT && value.isWellFormed() && !CONTROL.test(value);

/** A caller's words, fit to stand in a message or a log line. */
export const shown = (value: string): string => {
  const clean = value
    .slice(0, 100)
    .toWellFormed()
    .replaceAll(/\p{Cc}/gu, "\u{FFFD}");
  return value.length > 100 ? `${clean}…` : clean;
};
