import { describe, expect, test } from "vitest";
import type { Output, StatementView } from "../../../src/core/statement-view.ts";
import { statementObject, statementOutput } from "../../../src/faces/livy/view.ts";

const statement = (outputs: Output[], changed: Partial<StatementView> = {}): StatementView => ({
  ...{ id: 3, key: "k", code: "x", kind: "pyspark", origin: null, silent: false, state: "available", outcome: "ok", rung: null },
  ...{
    queuedMs: 1,
    startedMs: 2,
    finishedMs: 3,
    progress: 1,
    jobs: [],
    jobsSeq: 0,
    count: 1,
    returned: null,
    outputs,
    input: null,
    revision: 1,
    whole: true,
    firstSeq: 1,
    lastSeq: 9,
  },
  ...changed,
});
const stream = (name: "stdout" | "stderr", text: string, via: "python" | "process" = "python"): Output => ({
  type: "stream",
  name,
  via,
  text,
});
const result = (data: Record<string, unknown>): Output => ({ type: "result", data, metadata: {} });
const display = (data: Record<string, unknown>): Output => ({ type: "display", data, metadata: {}, displayId: null });
const error = (evalue = "division by zero"): Output => ({
  ...{ type: "error", ename: "ZeroDivisionError", evalue },
  traceback: ["Traceback (most recent call last):\n", `ZeroDivisionError: ${evalue}`],
});
const data = (...outputs: Output[]) => {
  const output = statementOutput(statement(outputs));
  return output.status === "ok" ? output.data : output;
};

describe("what a statement showed", () => {
  test.each<[string, Output[], string]>([
    ["nothing", [], ""],
    ["an expression", [result({ "text/plain": "2" })], "2"],
    ["printed text before the value of an expression", [stream("stdout", "a\n"), result({ "text/plain": "4" })], "a\n4"],
    ["printed text without a newline before a value", [stream("stdout", "a"), result({ "text/plain": "4" })], "a4"],
    ["several values", [result({ "text/plain": "0" }), result({ "text/plain": "1" })], "0\n1"],
    ["stderr after stdout", [stream("stderr", "err\n"), stream("stdout", "out\n")], "out\nerr"],
    ["leading blanks kept, trailing ones cut", [stream("stdout", "\n  a   \n\n\n")], "\n  a"],
    ["carriage returns, NUL and colours as they are", [stream("stdout", "a\rb\0\u{1b}[31mred\n")], "a\rb\0\u{1b}[31mred"],
    ["no bytes that came by other ways", [stream("stdout", "progress", "process"), stream("stderr", "log4j", "process")], ""],
    [
      "a mark where output was dropped",
      [stream("stdout", "a"), { type: "dropped", bytes: 7 }],
      "a\n[7 bytes of output were dropped here: over the limit]",
    ],
    ["a displayed text", [display({ "text/plain": "x" }), stream("stdout", "y\n")], "x\ny"],
  ])("%s", (_, outputs, text) => {
    expect(data(...outputs)).toEqual({ "text/plain": text });
  });

  test("data and images stand alone: their text is only a stand-in", () => {
    const table = { headers: [], data: [] };
    expect(data(result({ "application/json": { a: [1] }, "text/plain": "{'a': [1]}" }))).toEqual({ "application/json": { a: [1] } });
    expect(data(result({ "application/vnd.livy.table.v1+json": table, "text/html": "<table>" }))).toEqual({
      "application/vnd.livy.table.v1+json": table,
    });
    expect(data(display({ "image/png": "iVBO", "text/plain": "<Figure>" }))).toEqual({ "image/png": "iVBO" });
  });

  test("printed text stands beside data", () => {
    expect(data(result({ "text/plain": "[<Line2D>]" }), display({ "image/png": "iVBO", "text/plain": "<Figure>" }))).toEqual({
      "image/png": "iVBO",
      "text/plain": "[<Line2D>]",
    });
  });

  test("an expression's HTML does not hide its text, a displayed object's does", () => {
    const frame = { "text/html": "<table>", "text/plain": "   a\n0  1" };
    expect(data(result(frame))).toEqual(frame);
    expect(data(display(frame))).toEqual({ "text/html": "<table>" });
  });

  test("the last value of a type wins", () => {
    expect(data(display({ "image/png": "one" }), display({ "image/png": "two" }))).toEqual({ "image/png": "two" });
  });
});

describe("a statement that ended badly", () => {
  test("is an error whose traceback lines each end in a newline", () => {
    expect(statementOutput(statement([error()], { outcome: "error" }))).toEqual({
      ...{ status: "error", execution_count: 3, ename: "ZeroDivisionError", evalue: "division by zero" },
      traceback: ["Traceback (most recent call last):\n", "ZeroDivisionError: division by zero\n"],
    });
  });

  test("keeps what it had printed before", () => {
    expect(statementOutput(statement([stream("stdout", "before\n"), error()], { outcome: "error" }))).toMatchObject({
      ...{ status: "error", data: { "text/plain": "before" } },
    });
  });

  test.each([
    ["queue", "The statement was cancelled before it ran."],
    ["jobs", "The statement was cancelled: its Spark jobs were stopped."],
    ["signal", "The statement was cancelled: it was interrupted."],
  ] as const)("cancelled on the rung %s says so", (rung, evalue) => {
    const cancelled = statement([], { state: "cancelled", outcome: "cancelled", rung });
    expect(statementObject(cancelled).output).toEqual({ status: "error", execution_count: 3, ename: "Cancelled", evalue, traceback: [] });
  });

  test("cancelled by restarting the interpreter always says what is gone", () => {
    const cancelled = statement([error("why")], { state: "cancelled", outcome: "cancelled", rung: "restart" });
    expect(statementOutput(cancelled)).toMatchObject({
      ename: "ZeroDivisionError",
      evalue: expect.stringMatching(/^why\n.*variables are lost/),
    });
  });

  test("lost with its driver says so, also when the driver could say nothing", () => {
    const lost: Output = { type: "error", ename: "DriverLost", evalue: "out of memory", traceback: [] };
    expect(statementOutput(statement([lost], { outcome: "lost" }))).toMatchObject({
      status: "error",
      ename: "DriverLost",
      evalue: "out of memory",
    });
    expect(statementOutput(statement([], { outcome: "lost" }))).toMatchObject({ status: "error", ename: "StatementLost" });
    expect(statementOutput(statement([], { whole: false }))).toMatchObject({ status: "error", ename: "OutputGone" });
  });
});

test("a statement has Livy's seven fields, and no output before its end", () => {
  const running = statement([stream("stdout", "a")], { state: "running", outcome: null, progress: 0.25, finishedMs: 0 });
  expect(statementObject(running)).toEqual({ id: 3, code: "x", state: "running", output: null, progress: 0.25, started: 2, completed: 0 });
});
