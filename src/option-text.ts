import type { Option } from "./options.ts";
import { mapPresets } from "./preset-tables.ts";

/**
 * An option's value from the texts of its flag (each time it was given) or its variable. Lists are separated by commas, pairs are
 * `key=value` each or one JSON object. The result still has to pass the option's schema.
 * @throws Error that says what is expected
 */
export const readText = (option: Option, texts: readonly string[]): unknown => {
  const last = texts.at(-1) ?? "";
  switch (option.kind) {
    case "flag":
      return readFlag(last);
    case "list":
      return texts
        .flatMap((text) => text.split(","))
        .map((item) => item.trim())
        .filter((item) => item !== "");
    case "pairs":
      return Object.assign({}, ...texts.map(readPairs));
    case "presets":
      return Object.assign({}, ...texts.map((text) => readStructured(option, readJson(text))));
    default:
      return readStructured(option, last);
  }
};

/**
 * An option's value from a configuration file.
 * @throws Error that says what is expected
 */
export const readStructured = (option: Option, raw: unknown): unknown => {
  switch (option.kind) {
    case "count":
      return typeof raw === "string" ? readCount(raw) : raw;
    case "duration":
      return typeof raw === "string" ? readDuration(raw) : raw;
    case "bytes":
      return typeof raw === "string" ? readBytes(raw) : raw;
    case "pairs":
      return flatten(raw);
    case "presets":
      return mapPresets(raw, (value, format) => {
        if (format === "duration" && typeof value === "string") return readDuration(value);
        return format === "pairs" ? flatten(value) : value;
      });
    case "choice":
      if (typeof raw === "string" && option.choices.includes(raw)) return raw;
      throw new Error(`must be one of ${option.choices.join(", ")}, not ${shown(raw)}`);
    default:
      return raw;
  }
};

const MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
const BYTES: Readonly<Record<string, number>> = { "": 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** Milliseconds from `90s`, `1.5h`, `2d`, `250ms` or a number of milliseconds. */
export const readDuration = (text: string): number => {
  const [, digits, unit = "ms"] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)?\s*$/i.exec(text) ?? [];
  const value = Math.round(Number(digits) * (MS[unit.toLowerCase()] ?? Number.NaN));
  if (!Number.isSafeInteger(value))
    throw new Error(`must be a duration like 90s, 15m, 2h, 1d or a number of milliseconds, not ${shown(text)}`);
  return value;
};

/** Bytes from `64MiB`, `64m`, `1g` (steps of 1024) or a number of bytes. */
export const readBytes = (text: string): number => {
  const [, digits, unit = ""] = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(text) ?? [];
  const value = Math.round(Number(digits) * (BYTES[unit.toLowerCase()] ?? Number.NaN));
  if (!Number.isSafeInteger(value)) throw new Error(`must be a size like 512k, 64MiB, 2g or a number of bytes, not ${shown(text)}`);
  return value;
};

const readCount = (text: string): number => {
  if (!/^\s*-?\d{1,15}\s*$/.test(text)) throw new Error(`must be a whole number, not ${shown(text)}`);
  return Number(text);
};

const readFlag = (text: string): boolean => {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  if (/^(false|0|no|off)$/i.test(text)) return false;
  throw new Error(`must be true or false, not ${shown(text)}`);
};

const readPairs = (text: string): unknown => {
  if (text.trimStart().startsWith("{")) return flatten(readJson(text));
  const at = text.indexOf("=");
  if (at < 1) throw new Error(`must be key=value or a JSON object, not ${shown(text)}`);
  return { [text.slice(0, at).trim()]: text.slice(at + 1) };
};

const readJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`is not a JSON object: ${error instanceof Error ? error.message : String(error)}`);
  }
};

/** `{spark: {executor: {cores: 4}}}`, which is how TOML reads `spark.executor.cores = 4`, as `{"spark.executor.cores": "4"}`. */
const flatten = (raw: unknown, prefix = ""): unknown => {
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return raw;
  const flat: [string, unknown][] = [];
  for (const [key, value] of Object.entries(raw)) {
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      flat.push(...Object.entries(flatten(value, `${prefix}${key}.`) ?? {}));
    else
      flat.push([
        prefix + key,
        typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" ? String(value) : value,
      ]);
  }
  return Object.fromEntries(flat);
};

const shown = (value: unknown): string => JSON.stringify(value)?.slice(0, 80) ?? String(value);
