import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { colouredTraceback } from "../../../src/faces/jupyter/traceback.ts";

/** `<r:…>`, `<g:…>` and `<c:…>` stand for red, green and cyan. */
const shown = (ename: string, text: string): string => {
  const lines = colouredTraceback({ ename, traceback: text.split("\n").map((line) => `${line}\n`) });
  const letters: Readonly<Record<string, string>> = { 31: "r", 32: "g", 36: "c" };
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked at
  const marked = lines.join("\n").replaceAll(/\x1b\[(31|32|36)m(.*?)\x1b\[39m/g, (_, code, part) => `<${letters[code]}:${part}>`);
  expect(stripVTControlCharacters(lines.join("\n"))).toBe(text);
  return marked;
};

test.each([
  [
    "ZeroDivisionError",
    'Traceback (most recent call last):\n  File "<cell 3>", line 4, in <module>\n    ratio(1, 0)\n  File "<cell 3>", line 2, in ratio\n    return a / b\n           ~~^~~\nZeroDivisionError: division by zero',
    'Traceback (most recent call last):\n  File <g:"<cell 3>">, line <g:4>, in <c:<module>>\n    ratio(1, 0)\n  File <g:"<cell 3>">, line <g:2>, in <c:ratio>\n    return a / b\n           <r:~~^~~>\n<r:ZeroDivisionError>: division by zero',
  ],
  [
    "SyntaxError",
    "  File \"<cell 1>\", line 1\n    x = (1\n        ^\nSyntaxError: '(' was never closed",
    "  File <g:\"<cell 1>\">, line <g:1>\n    x = (1\n        <r:^>\n<r:SyntaxError>: '(' was never closed",
  ],
  ["KeyboardInterrupt", '  File "a", line 1, in f\nKeyboardInterrupt', '  File <g:"a">, line <g:1>, in <c:f>\n<r:KeyboardInterrupt>'],
  ["StatementLost", "StatementLost: gone\nStatementLost: no more", "<r:StatementLost>: gone\nStatementLost: no more"],
  [
    "AnalysisException",
    '  File "a", line 1, in f\n  [Previous line repeated 9 more times]\npyspark.errors.AnalysisException: [X] no\n\nDuring handling of it:\n\n  File "b", line 2, in g\nValueError\nKeyError: is text',
    '  File <g:"a">, line <g:1>, in <c:f>\n  [Previous line repeated 9 more times]\n<r:pyspark.errors.AnalysisException>: [X] no\n\nDuring handling of it:\n\n  File <g:"b">, line <g:2>, in <c:g>\n<r:ValueError>\nKeyError: is text',
  ],
  [
    "ExceptionGroup",
    '  + Exception Group Traceback (most recent call last):\n  |   File "<cell 1>", line 1, in <module>\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: 1',
    '  + Exception Group Traceback (most recent call last):\n  |   File <g:"<cell 1>">, line <g:1>, in <c:<module>>\n  | <r:ExceptionGroup>: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: 1',
  ],
])("a traceback of %s says in colour what was raised and where", (ename, text, marked) => {
  expect(shown(ename, text)).toBe(marked);
});

test.each(["~".repeat(300_000), `${" ".repeat(300_000)}x`, `File "${'"'.repeat(300_000)}`, `  File "a", line ${"1".repeat(300_000)}x`])(
  "no line takes long, %#",
  (line) => {
    // Milliseconds; what looks at the whole rest of the line from each place takes minutes.
    const beganMs = performance.now();
    shown("x", `${line}!`);
    expect(performance.now() - beganMs).toBeLessThan(8_000);
  },
);
