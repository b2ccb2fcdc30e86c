import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Compile } from "typebox/compile";
import { linesOf } from "../core/lines.ts";
import { type RecordFrame, Records, type RecordType } from "../protocol/frames.ts";
import { isCode } from "./lock.ts";

const SEGMENT = /^\d{16}\.seg$/;
/** So many records are handed over at once. */
const BATCH = 500;

/**
 * The records a supervisor has left in its journal's directory, oldest first: lines `<seq> <record>` in segment files, as
 * python-shim/spark_shim/segments.py writes them. Torn and unknown ones are left out; without a journal there are none.
 */
export async function* readJournal(directory: string): AsyncGenerator<readonly RecordFrame[]> {
  const read = recordReader();
  let batch: RecordFrame[] = [];
  for (const name of await segmentsOf(directory)) {
    for await (const line of linesOf(createReadStream(join(directory, name)))) {
      const record = read(line);
      if (record === null) continue;
      batch.push(record);
      if (batch.length < BATCH) continue;
      yield batch;
      batch = [];
    }
  }
  if (batch.length > 0) yield batch;
}

/** Reads lines; each kind of record is checked by a schema that is compiled when the first of the kind comes. */
const recordReader = (): ((line: string) => RecordFrame | null) => {
  const checks = new Map<string, { Check(value: unknown): boolean }>();
  return (line) => {
    let value: unknown;
    try {
      value = JSON.parse(line.slice(line.indexOf(" ") + 1));
    } catch {
      return null;
    }
    if (typeof value !== "object" || value === null || !("type" in value)) return null;
    const type = String(value.type);
    if (!Object.hasOwn(Records, type)) return null;
    const check = checks.get(type) ?? Compile(Records[type as RecordType]);
    checks.set(type, check);
    // Checked border: the schema of the record's own type accepted it.
    return check.Check(value) ? (value as RecordFrame) : null;
  };
};

/**
 * Lines of the log that a supervisor has left, by their numbers from 0; what is not kept any more is left out. Whoever reads all page by
 * page has only the files read that hold the page.
 */
export const readLog = async (directory: string, from: number, count: number): Promise<readonly string[]> => {
  const lines: string[] = [];
  const segments = await segmentsOf(directory);
  for (const [index, name] of segments.entries()) {
    const next = segments[index + 1];
    if (next !== undefined && firstLineOf(next) <= from) continue;
    if (firstLineOf(name) >= from + count) break;
    for await (const { line, text } of logLinesOf(join(directory, name))) {
      if (line >= from + count) return lines;
      if (line >= from) lines.push(text);
    }
  }
  return lines;
};

/** The last lines of that log, and how many there were in all. */
export const readLogEnd = async (directory: string, count: number): Promise<{ total: number; lines: readonly string[] }> => {
  const last: string[] = [];
  let total = 0;
  for (const name of (await segmentsOf(directory)).reverse()) {
    const lines: string[] = [];
    for await (const { line, text } of logLinesOf(join(directory, name))) {
      total = Math.max(total, line + 1);
      lines.push(text);
    }
    last.unshift(...lines.slice(-count));
    if (last.length >= count) break;
  }
  return { total, lines: last.slice(-count) };
};

async function* logLinesOf(path: string): AsyncGenerator<{ readonly line: number; readonly text: string }> {
  for await (const written of linesOf(createReadStream(path))) {
    const blank = written.indexOf(" ");
    const line = Number(written.slice(0, blank)) - ON_DISK_FIRST;
    if (Number.isSafeInteger(line) && line >= 0) yield { line, text: written.slice(blank + 1) };
  }
}

/** A file is called by the first number in it. */
const firstLineOf = (name: string): number => Number.parseInt(name, 10) - ON_DISK_FIRST;
const ON_DISK_FIRST = 1;

const segmentsOf = async (directory: string): Promise<string[]> => {
  const names = await readdir(directory).catch((error: unknown) => {
    if (isCode(error, "ENOENT")) return [];
    throw error;
  });
  return names.filter((name) => SEGMENT.test(name)).sort();
};
