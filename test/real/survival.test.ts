import { appendFile, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Livy, textOf } from "../kit/livy.ts";
import { LinkProxy } from "../kit/proxy.ts";
import { type Server, startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

/** A cell that leaves a trace outside of the driver for each step it takes, until it is told that it took enough of them. */
const traced = (trace: string): string => `
import os, time
number = 0
while not os.path.exists(${JSON.stringify(`${trace}-enough`)}):
    with open(${JSON.stringify(trace)}, "a") as file:
        file.write(f"{number}\\n")
    print("line", number)
    number += 1
    time.sleep(0.1)
`;
const stepsIn = async (trace: string): Promise<readonly string[]> =>
  (await readFile(trace, "utf8").catch(() => "")).split("\n").slice(0, -1);

/** Starts the traced cell with one more behind it, and waits until it is well on its way. */
const midCell = async (server: Server, livy: Livy, session: number) => {
  const trace = join(server.directory, `trace-${session}-${performance.now()}`);
  const cell = await livy.submit(session, traced(trace));
  const behind = await livy.submit(session, `open(${JSON.stringify(`${trace}-behind`)}, "a").write("x"); "behind"`);
  await until("the cell's fifth step", 30_000, async () => ((await stepsIn(trace)).length >= 5 ? true : undefined));
  return { trace, cell, behind };
};

/** Ends the cell: all its output is there, and neither it nor the one behind it ran twice. */
const expectWhole = async (livy: Livy, session: number, { trace, cell, behind }: Awaited<ReturnType<typeof midCell>>): Promise<void> => {
  await livy.running(session, cell.id);
  await writeFile(`${trace}-enough`, "");
  const shown = textOf(await livy.finished(session, cell.id));
  expect(textOf(await livy.finished(session, behind.id))).toBe("'behind'");
  const steps = await stepsIn(trace);
  expect(steps).toEqual(Array.from(steps, (_, index) => `${index}`));
  expect(shown).toBe(steps.map((number) => `line ${number}`).join("\n"));
  expect((await readFile(`${trace}-behind`, "utf8")).length).toBe(1);
  expect((await livy.statements(session)).statements.map((statement) => statement.id)).toEqual([...Array(behind.id + 1).keys()]);
};

describe("a server that dies", () => {
  test("by signal 9 mid-cell comes back with the same ids, the whole output, and nothing run twice", { timeout: 180_000 }, async () => {
    await using server = await startServer();
    const livy = new Livy(server.url);
    const { id } = await livy.ready({ kind: "pyspark", name: "survivor" });
    expect(textOf(await livy.run(id, "kept = 41; print('first')"))).toBe("first");
    const going = await midCell(server, livy, id);
    await server.kill();
    await server.restart();
    // Two seconds after its start are promised, and measured by the benchmarks.
    expect((await livy.inState("survivor", ["busy"], 20_000)).id).toBe(id);
    await expectWhole(livy, id, going);
    expect(textOf(await livy.run(id, "print(kept + 1)"))).toBe("42");
    const next = await livy.create();
    expect(next.id).toBeGreaterThan(id);
  });

  test("while nobody looks, again and again, loses nothing", { timeout: 180_000 }, async () => {
    await using server = await startServer();
    const livy = new Livy(server.url);
    const { id } = await livy.ready();
    const going = await midCell(server, livy, id);
    for (let round = 0; round < 4; round += 1) {
      await server.kill();
      await server.restart();
    }
    await expectWhole(livy, id, going);
  });

  test("between a POST and its answer: the same key sent again runs once", { timeout: 180_000 }, async () => {
    await using server = await startServer();
    const keyed = new Livy(server.url, { "Idempotency-Key": "one-and-only" });
    const { id } = await keyed.ready();
    const first = await keyed.submit(id, "counter = globals().get('counter', 0) + 1; print(counter)");
    await server.kill();
    await server.restart();
    const again = await keyed.submit(id, "counter = globals().get('counter', 0) + 1; print(counter)");
    expect(again.id).toBe(first.id);
    expect(textOf(await keyed.finished(id, first.id))).toBe("1");
    expect((await keyed.statements(id)).total_statements).toBe(1);
  });
});

describe("a link that breaks", () => {
  test("is dialled again, whether it was cut or went silent, and nothing is lost or run twice", { timeout: 240_000 }, async () => {
    await using server = await startServer();
    const livy = new Livy(server.url);
    const { id } = await livy.ready();
    await server.kill();
    await using proxy = await LinkProxy.at(await server.driverSocket(id));
    await server.restart();
    await livy.inState(id, ["idle"]);
    const dialledAnew = async (before: number) => {
      await until("the driver is dialled anew", 60_000, () => (proxy.dialled > before ? true : undefined));
      await livy.inState(id, ["busy"]);
    };

    const cut = await midCell(server, livy, id);
    const atCut = proxy.dialled;
    proxy.cut();
    await dialledAnew(atCut);
    await expectWhole(livy, id, cut);

    const silent = await midCell(server, livy, id);
    const atSilence = proxy.dialled;
    proxy.goSilent();
    await dialledAnew(atSilence);
    await expectWhole(livy, id, silent);
  });
});

describe("a supervisor that dies", () => {
  test.for([
    ["whose last record was cut short", async (file: string) => truncate(file, (await stat(file)).size - 7)],
    ["after which somebody wrote nonsense into its records", (file: string) => appendFile(file, '\u0000\u0000{"frame":"rec')],
  ] as const)(
    "%s: what was whole is still there, the running cell is said to be lost, the session goes on",
    { timeout: 240_000 },
    async ([, damage]) => {
      await using server = await startServer();
      const livy = new Livy(server.url);
      const { id } = await livy.ready();
      expect(textOf(await livy.run(id, "print('kept record')"))).toBe("kept record");
      const going = await midCell(server, livy, id);
      await server.kill();
      await server.killSupervisor(id);
      const stepsThen = await stepsIn(going.trace);
      await damage(await newestRecordFile(server, id));
      await server.restart();
      const lost = await livy.finished(id, going.cell.id, 60_000);
      expect(textOf(lost)).toMatch(/^DriverLost: /);
      expect(textOf(await livy.finished(id, going.behind.id))).toMatch(/^DriverLost: /);
      expect(textOf(await livy.statement(id, 0))).toBe("kept record");
      await livy.inState(id, ["idle"]);
      const next = await livy.run(id, "print('goes on', spark.range(3).count())");
      expect([next.id, textOf(next)]).toEqual([going.behind.id + 1, "goes on 3"]);
      expect(await stepsIn(going.trace)).toEqual(stepsThen);
    },
  );
});

const newestRecordFile = async (server: Server, session: number): Promise<string> => {
  const folder = join(await server.sessionDirectory(session), "journal", "records");
  const files = (await readdir(folder)).sort();
  const newest = files.at(-1);
  if (newest === undefined) throw new Error(`no record file in ${folder}`);
  return join(folder, newest);
};

describe("a full disk under the runtime directory", () => {
  test("costs no output: cells end, survive the server's death, and new sessions are refused with the reason", {
    timeout: 240_000,
  }, async () => {
    await using server = await startServer({ diskBytes: 24 * 1024 * 1024 });
    const livy = new Livy(server.url);
    const { id } = await livy.ready();
    const filler = JSON.stringify(join(server.runtimeDirectory, "filler"));
    const fill = await livy.run(
      id,
      `import errno\nwith open(${filler}, "wb", buffering=0) as file:\n  try:\n    while True: file.write(b"x" * 4096)\n  except OSError as error:\n    print(error.errno == errno.ENOSPC)`,
    );
    expect(textOf(fill)).toBe("True");
    const cell = await livy.run(id, "print('y' * 500_000)");
    expect(textOf(cell)).toBe("y".repeat(500_000));
    const refused = await livy.ask("POST", "/sessions", { kind: "pyspark" });
    expect(refused.status).toBeGreaterThanOrEqual(400);
    expect(refused.body).toEqual({ msg: expect.stringMatching(/space|disk|ENOSPC/i) });
    await server.kill();
    await server.restart();
    expect(textOf(await livy.finished(id, cell.id))).toBe("y".repeat(500_000));
    const after = await livy.run(id, "print('still taking code')");
    expect([after.id, textOf(after)]).toEqual([cell.id + 1, "still taking code"]);
    await livy.run(id, `import os; os.remove(${filler})`);
    expect(textOf(await livy.run(id, "print('room again')"))).toBe("room again");
    await livy.ready();
  });
});
