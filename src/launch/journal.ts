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
 * Lines of the log that a supervisor has left, by their numbers from 0, and how many there were in all; what is not kept any more is left
 * out. Negative `from`: the last so many.
 */
export const readLog = async (directory: string, from: number, count: number): Promise<{ total: number; lines: readonly string[] }> => {
  let kept: { readonly number: number; readonly text: string }[] = [];
  let total = 0;
  for (const name of await segmentsOf(directory)) {
    for await (const line of linesOf(createReadStream(join(directory, name)))) {
      // On disk numbers begin with 1.
      const number = Number(line.slice(0, line.indexOf(" "))) - 1;
      if (!Number.isSafeInteger(number) || number < 0) continue;
      total = number + 1;
      if (from < 0 || (number >= from && number < from + count)) kept.push({ number, text: line.slice(line.indexOf(" ") + 1) });
      if (from < 0 && kept.length > 2 * count) kept = kept.slice(-count);
    }
  }
  return { total, lines: kept.slice(-count).map(({ text }) => text) };
};

const segmentsOf = async (directory: string): Promise<readonly string[]> => {
  const names = await readdir(directory).catch((error: unknown) => {
    if (isCode(error, "ENOENT")) return [];
    throw error;
  });
  return names.filter((name) => SEGMENT.test(name)).sort();
};
