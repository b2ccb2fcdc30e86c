import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readJournal, readLog, readLogEnd } from "../../src/launch/journal.ts";
import type { RecordFrame } from "../../src/protocol/frames.ts";

const log = (seq: number, line: string) => ({ frame: "record", seq, atMs: 1, type: "log", line: seq, lines: [line] });
const lineOf = (record: { seq: number }): string => `${record.seq} ${JSON.stringify(record)}\n`;

const read = async (files: Readonly<Record<string, string>>): Promise<RecordFrame[]> => {
  const directory = await mkdtemp(join(tmpdir(), "longwick-journal-"));
  try {
    for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
    const records: RecordFrame[] = [];
    for await (const batch of readJournal(directory)) records.push(...batch);
    return records;
  } finally {
    await rm(directory, { recursive: true });
  }
};

test("a journal is read in the order of its files, whatever else is there", async () => {
  const records = await read({
    "0000000000000003.seg": lineOf(log(3, "c")) + lineOf(log(5, "é\u2028 e")),
    "0000000000000001.seg": lineOf(log(1, "a")) + lineOf(log(2, "b")),
    "0000000000000001.seg.new": lineOf(log(9, "of an interrupted repair")),
    notes: "x",
  });
  expect(records.map((record) => record.type === "log" && record.lines[0])).toEqual(["a", "b", "c", "é\u2028 e"]);
});

test("torn lines, and records that are malformed or of a later version, are left out", async () => {
  const whole = lineOf(log(7, "whole"));
  const content = [
    lineOf(log(1, "first")),
    '2 {"frame":"record","seq":2,"atMs":1,"type":"log","line":2,"lines":"no list"}\n',
    '3 {"frame":"record","seq":3,"atMs":1,"type":"of a later version"}\n',
    "4 not json\n5\n\n[]\n6 null\n",
    whole,
    whole.slice(0, 40),
  ];
  expect((await read({ "0000000000000001.seg": content.join("") })).map(({ seq }) => seq)).toEqual([1, 7]);
});

test("many records come in pieces; where there is no journal there are none", async () => {
  const content = Array.from({ length: 1_234 }, (_, index) => lineOf(log(index + 1, "x"))).join("");
  expect(await read({ "0000000000000001.seg": content })).toHaveLength(1_234);
  const none = [];
  for await (const batch of readJournal(join(tmpdir(), "longwick-no-such-directory"))) none.push(batch);
  expect(none).toEqual([]);
});

test("a log's lines are read by their numbers, from whichever file they are in, or from the end", async () => {
  const directory = await mkdtemp(join(tmpdir(), "longwick-log-"));
  try {
    await writeFile(join(directory, "0000000000000003.seg"), "3 c\n4 d d\n");
    await writeFile(join(directory, "0000000000000005.seg"), "5 \n6 f\n7 to");
    expect(await readLog(directory, 2, 2)).toEqual(["c", "d d"]);
    expect(await readLog(directory, 3, 2)).toEqual(["d d", ""]);
    expect(await readLog(directory, 0, 3)).toEqual(["c"]);
    expect(await readLog(directory, 6, 2)).toEqual([]);
    expect(await readLogEnd(directory, 2)).toEqual({ total: 6, lines: ["", "f"] });
    expect(await readLogEnd(directory, 3)).toEqual({ total: 6, lines: ["d d", "", "f"] });
    expect(await readLogEnd(directory, 100)).toEqual({ total: 6, lines: ["c", "d d", "", "f"] });
    expect(await readLogEnd(join(directory, "none"), 2)).toEqual({ total: 0, lines: [] });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("a page of a log is read from the files that hold it alone", async () => {
  const directory = await mkdtemp(join(tmpdir(), "longwick-log-"));
  try {
    // What cannot be read as a file.
    for (const name of ["0000000000000001.seg", "0000000000000009.seg"]) await mkdir(join(directory, name));
    await writeFile(join(directory, "0000000000000005.seg"), "5 a\n6 b\n");
    await writeFile(join(directory, "0000000000000007.seg"), "7 c\n8 d\n");
    expect(await readLog(directory, 4, 4)).toEqual(["a", "b", "c", "d"]);
    expect(await readLog(directory, 6, 1)).toEqual(["c"]);
    await expect(readLog(directory, 6, 3)).rejects.toThrow("EISDIR");
  } finally {
    await rm(directory, { recursive: true });
  }
});
