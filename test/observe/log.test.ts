import { describe, expect, test } from "vitest";
import { openLog } from "../../src/observe/log.ts";

const logged = (isTTY: boolean, level = "info") => {
  const lines: string[] = [];
  return { lines, log: openLog(level, { isTTY, write: (text) => lines.push(text) }) };
};

describe("the log", () => {
  test("is a JSON object a line, with a time and the level's name", () => {
    const { lines, log } = logged(false);
    log.info({ session: 3 }, "adopted");
    expect(lines.length).toBe(1);
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      level: "info",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      session: 3,
      msg: "adopted",
    });
  });

  test("is for eyes on a terminal", () => {
    const { lines, log } = logged(true);
    log.warn({ session: 3, audit: { user: "ann" } }, "audit");
    expect(lines).toEqual([expect.stringMatching(/^\d\d:\d\d:\d\d warn {2}audit session=3 audit=\{"user":"ann"\}\n$/)]);
    log.error({ err: new Error("broken") }, "fault");
    expect(lines[1]).toMatch(/error fault\nError: broken\n {4}at /);
  });

  test("leaves out what is below its level, and credentials", () => {
    const { lines, log } = logged(false, "warn");
    log.info("not seen");
    log.warn({ req: { headers: { authorization: "Basic c2VjcmV0", cookie: "c" } } }, "request");
    expect(lines.length).toBe(1);
    expect(lines[0]).not.toMatch(/not seen|c2VjcmV0|cookie/);
  });
});
