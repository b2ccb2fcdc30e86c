import { expect, test } from "vitest";
import { cells, onStage, run } from "./stage.ts";

test("a search finds what ran, the newest of equal ones, and no pattern stops the server", () =>
  onStage(async ({ service, driver, open }) => {
    const channels = await open();
    const codes = ["find me", "x".repeat(3_000_000), "find me", "find us"];
    for (const [index, code] of codes.entries()) {
      const id = channels.execute(code);
      await service.until(() => cells(driver) === index + 1);
      run(driver, index, []);
      await channels.idle(id);
    }
    const ask = async (content: object) => {
      const asked = channels.send("shell", "history_request", { hist_access_type: "search", raw: true, output: false, ...content });
      return (await channels.idle(asked)).find(({ type }) => type === "history_reply")?.content ?? {};
    };
    const found = async (content: object) => (await ask(content))["history"];
    expect(await found({ pattern: "find*" })).toEqual([
      [0, 1, "find me"],
      [0, 3, "find me"],
      [0, 4, "find us"],
    ]);
    expect(await found({ pattern: "*m?", unique: true })).toEqual([[0, 3, "find me"]]);
    expect(await found({ pattern: "find*", n: 1, output: true })).toEqual([[0, 4, ["find us", null]]]);
    // A fraction of a second; a pattern that is tried at each place and from there at each again takes hours.
    const beganMs = performance.now();
    expect(await found({ pattern: `*${"?".repeat(900)}y` })).toEqual([]);
    expect(await ask({ pattern: `*${"?".repeat(5_000)}y` })).toMatchObject({
      status: "error",
      evalue: expect.stringContaining("1000 characters"),
    });
    expect(performance.now() - beganMs).toBeLessThan(8_000);
  }));
