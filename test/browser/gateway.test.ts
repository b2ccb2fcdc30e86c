import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { HeldPython } from "../kit/held-python.ts";
import { installForGateway } from "../kit/kernelspec.ts";
import { Lab } from "../kit/lab.ts";
import { startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";
import { lines, notebookContract } from "./contract.ts";

const TOKEN = "gateway-token";

/** `jupyter lab --gateway-url` against a server that asks who is there. */
notebookContract(
  "gateway",
  async (directory) => {
    const tokens = join(directory, "tokens");
    writeFileSync(tokens, `${createHash("sha256").update(TOKEN).digest("hex")} ann\n`);
    const python = await HeldPython.make();
    python.hold();
    const headers = { authorization: `Bearer ${TOKEN}` };
    const server = await startServer({ flags: ["--tokens", tokens], headers, python: python.path });
    const env = { ...installForGateway(directory), JUPYTER_GATEWAY_AUTH_TOKEN: TOKEN };
    const lab = await Lab.start({ directory, env, flags: [`--gateway-url=${server.url}`] });
    return {
      lab,
      python,
      server,
      card: "Spark (PySpark)",
      [Symbol.asyncDispose]: async () => {
        await lab[Symbol.asyncDispose]();
        await server[Symbol.asyncDispose]();
        python[Symbol.dispose]();
      },
    };
  },
  (visit) => {
    test("the page shows everything once when the server is killed with 9 while a cell prints", async () => {
      const { door, notebook, gates } = visit();
      const cell = await notebook.run("for n in range(40):\n    print(n)\n    if n in (9, 29): arrive(f'killed-{n}'); wait(f'after-{n}')");
      await cell.shows(/^9$/m);
      await door.server.kill();
      gates.open("after-9");
      await gates.arrival("killed-29");
      await door.server.start();
      await cell.shows(/^29$/m, 60_000);
      gates.open("after-29");
      expect(await cell.done()).toBe(lines(40));
      expect(await (await notebook.ran("'next'")).done()).toBe("'next'");
    });

    test("what is sent while the server is away runs once it is back", async () => {
      const { door, notebook } = visit();
      await notebook.ran("times = []");
      await door.server.kill();
      const cell = await notebook.run("times.append('away')\ntimes");
      await door.server.start();
      expect(await cell.done()).toBe("['away']");
      expect(await (await notebook.ran("len(times)")).done()).toBe("1");
    });

    test("what a server held for a driver that could not be reached, and died with, runs once", async () => {
      const { door, notebook } = visit();
      await notebook.ran("times = []");
      door.server.signalSupervisor(0, "SIGSTOP");
      const first = await notebook.run("times.append('first')\ntimes");
      await until("the driver is given up", 60_000, () => (door.server.written.includes("the driver does not answer") ? true : undefined));
      const second = await notebook.run("times.append('second')\ntimes");
      await door.server.kill();
      await door.server.start();
      door.server.signalSupervisor(0, "SIGCONT");
      expect(await first.done()).toBe("['first']");
      expect(await second.done()).toBe("['first', 'second']");
    });

    test("a page that was loaded anew shows everything once when the server is killed with 9", async () => {
      const { door, notebook, gates } = visit();
      const first = await notebook.run("for n in range(40):\n    print(n)\n    if n in (9, 29): arrive(f'again-{n}'); wait(f'go-{n}')");
      await first.shows(/^9$/m);
      await notebook.save();
      await notebook.leave();
      await notebook.comeBack();
      const cell = notebook.cellOf("wait(f'go-{n}')");
      await cell.shows(/^9$/m);
      await door.server.kill();
      gates.open("go-9");
      await gates.arrival("again-29");
      await door.server.start();
      await cell.shows(/^29$/m, 60_000);
      gates.open("go-29");
      expect(await cell.done()).toBe(lines(40));
    });
  },
);
