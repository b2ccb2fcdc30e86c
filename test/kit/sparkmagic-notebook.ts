import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clientsPython } from "./python.ts";

const NOTEBOOKS = fileURLToPath(new URL("../real/notebooks/", import.meta.url));

/** A server that a notebook can use, until it is disposed. */
export interface NotebookServer extends AsyncDisposable {
  readonly url: string;
  /** What Sparkmagic's configuration says besides the URL. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

interface CellOutput {
  readonly output_type: string;
  readonly name?: string;
  readonly text?: string | readonly string[];
  readonly data?: Readonly<Record<string, unknown>>;
  readonly ename?: string;
  readonly evalue?: string;
}
interface Cell {
  readonly id: string;
  readonly cell_type: string;
  readonly metadata: { readonly longwick?: { readonly seconds?: number; readonly secondsAfterInterrupt?: number } };
  readonly outputs: readonly CellOutput[];
}

const joined = (text: unknown): string => (Array.isArray(text) ? text.join("") : typeof text === "string" ? text : "");

/** Runs the notebook against the server and answers its cells by their ids. */
const runNotebook = async (server: NotebookServer, timeoutMs: number): Promise<ReadonlyMap<string, Cell>> => {
  const directory = mkdtempSync(join(tmpdir(), "longwick-notebook-"));
  try {
    const out = join(directory, "sparkmagic.ipynb");
    const args = [
      join(NOTEBOOKS, "run_notebook.py"),
      join(NOTEBOOKS, "sparkmagic.ipynb"),
      out,
      server.url,
      JSON.stringify(server.settings ?? {}),
    ];
    await promisify(execFile)(await clientsPython(), args, {
      timeout: timeoutMs,
      maxBuffer: 64 * 1024 * 1024,
    });
    // nbformat has validated what it wrote.
    const book = JSON.parse(await readFile(out, "utf8")) as { cells: readonly Cell[] };
    return new Map(book.cells.map((cell) => [cell.id, cell]));
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
};

/** How long things may take: the whole notebook, and an interrupt with the cell that follows it. */
export interface NotebookLimits {
  readonly runMs: number;
  readonly interruptSeconds: number;
}

/** What every server shows in the Sparkmagic notebook; `more` adds tests of what is there once it has run. */
export const sparkmagicNotebook = (
  name: string,
  start: () => Promise<NotebookServer>,
  limits: NotebookLimits,
  more: () => void = () => undefined,
): void => {
  describe(name, () => {
    let server: NotebookServer | undefined;
    let cells: ReadonlyMap<string, Cell> = new Map();

    /** The whole run is one act; each test looks at what one cell showed. */
    beforeAll(async () => {
      server = await start();
      cells = await runNotebook(server, limits.runMs);
    }, limits.runMs + 300_000);
    afterAll(() => server?.[Symbol.asyncDispose]());

    const cell = (id: string): Cell => {
      const found = cells.get(id);
      if (found === undefined) throw new Error(`no cell ${id}`);
      return found;
    };
    const stream = (id: string, name: "stdout" | "stderr"): string =>
      cell(id)
        .outputs.filter((output) => output.name === name)
        .map((output) => joined(output.text))
        .join("");
    const html = (id: string): string =>
      cell(id)
        .outputs.map((output) => joined(output.data?.["text/html"]))
        .join("");
    /** What the cell printed, when nothing went wrong in it. */
    const printed = (id: string): string => {
      expect(stream(id, "stderr"), `cell ${id}`).toBe("");
      expect(cell(id).outputs.filter((output) => output.output_type === "error")).toEqual([]);
      return stream(id, "stdout").trim();
    };

    test("shows what a statement printed and its value", () => {
      // The first cell also shows the table of the session it started.
      expect(html("text")).toContain("pyspark");
      expect(stream("text", "stdout")).toContain("SparkSession available as 'spark'.");
      expect(stream("text", "stdout").trimEnd().endsWith("hello from the driver\n2")).toBe(true);
    });

    test("shows unicode as it was written", () => {
      expect(printed("unicode")).toBe("héllo ✓ 😀 日本語");
    });

    test("shows an error with its traceback and goes on", () => {
      const shown = stream("error", "stderr");
      expect(shown).toMatch(/^An error was encountered:\nbad ✓\nTraceback \(most recent call last\):\n/);
      expect(shown).toContain("in inner");
      expect(shown).toContain("ValueError: bad ✓");
      expect(printed("after-error")).toBe("still héllo");
    });

    test("%%configure -f makes a new session with the settings asked for", () => {
      expect(html("configure")).toContain("spark.sql.shuffle.partitions");
      expect(printed("configured")).toBe("3 700m False");
    });

    test("%%sql -o brings rows into the notebook, also none", () => {
      expect(printed("sql-local").split("\n")).toEqual(["id,name", "0,é0", "1,é1", "2,é2"]);
      expect(printed("sql-empty-local")).toBe("rows 0");
    });

    test("%%sql shows its rows", () => {
      expect(stream("sql-shown", "stderr")).toBe("");
      const shown = cell("sql-shown").outputs.some((output) => output.data?.["application/vnd.jupyter.widget-view+json"] !== undefined);
      expect(shown).toBe(true);
    });

    test("%%sql shows what is wrong with a query", () => {
      expect(stream("sql-error", "stderr")).toContain("TABLE_OR_VIEW_NOT_FOUND");
    });

    test("%%spark -o brings a data frame, as many rows as asked for", () => {
      expect(printed("frame-local")).toBe("[0, 1, 4, 9, 16]");
    });

    test("%%send_to_spark sends a string and a data frame", () => {
      expect(printed("string-sent")).toBe("naïve ✓ 'quoted'");
      expect(printed("people-sent")).toBe("+----+---+\n|name|age|\n+----+---+\n| Zoë|  3|\n| Åke|  4|\n+----+---+");
    });

    test("%matplot shows a figure of the driver", () => {
      const images = cell("plot-shown")
        .outputs.map((output) => joined(output.data?.["image/png"]))
        .filter((data) => data !== "");
      expect(images.length).toBe(1);
      const [image] = images;
      expect(
        Buffer.from(image ?? "", "base64")
          .subarray(1, 4)
          .toString(),
      ).toBe("PNG");
    });

    test("big outputs arrive whole", () => {
      expect(printed("big")).toBe("x".repeat(3_000_000));
      expect(printed("lines").split("\n")).toEqual(Array.from({ length: 20_000 }, (_, index) => String(index)));
    });

    test.for([
      ["sleep", "42 5"],
      ["loop", "43 5"],
      ["job", "44 5"],
    ] as const)("an interrupt ends %s, and the next cell finds variables and temp views", ([id, next]) => {
      const shown =
        stream(id, "stderr") +
        cell(id)
          .outputs.map((output) => `${output.ename ?? ""} ${output.evalue ?? ""}`)
          .join("\n");
      expect(shown).toContain("Interrupted by user");
      expect(printed(`after-${id}`)).toBe(next);
      const spent =
        (cell(id).metadata.longwick?.secondsAfterInterrupt ?? Infinity) + (cell(`after-${id}`).metadata.longwick?.seconds ?? Infinity);
      // Sparkmagic itself waits for idle in steps of up to a second, and polls the next cell's result.
      expect(spent).toBeLessThan(limits.interruptSeconds);
    });

    test("%%info lists the session, %%logs shows the driver's log", () => {
      expect(html("info")).toContain("Current session?");
      expect(html("info")).toContain("idle");
      expect(stream("logs", "stdout")).toMatch(/^Setting default log level to|^\d\d\/\d\d\/\d\d .* WARN /m);
    });

    test("%%cleanup -f deletes every session", () => {
      expect(stream("cleanup", "stderr")).toBe("");
      expect(html("after-cleanup")).toContain("No active sessions.");
    });

    more();
  });
};
