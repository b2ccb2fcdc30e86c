import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Locator } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { contrastOf } from "../kit/contrast.ts";
import { Gates } from "../kit/gates.ts";
import type { HeldPython } from "../kit/held-python.ts";
import type { Lab } from "../kit/lab.ts";
import { NotebookPage, startBrowser } from "../kit/notebook-page.ts";
import { until } from "../kit/until.ts";

/** A way from JupyterLab to Spark, open. */
export interface Door extends AsyncDisposable {
  readonly lab: Lab;
  /** That of the drivers, which do not begin before they are let go. */
  readonly python: HeldPython;
  /** What the launcher's card says. */
  readonly card: string;
}

/** What the tests of a door share: one JupyterLab, one browser, one notebook, one driver. */
export class Visit<Opened extends Door> {
  readonly door: Opened;
  readonly notebook: NotebookPage;
  readonly gates: Gates;

  constructor(door: Opened, notebook: NotebookPage, gates: Gates) {
    this.door = door;
    this.notebook = notebook;
    this.gates = gates;
  }
}

const NEAR_MS = 30_000;
/** Starting one JupyterLab, one browser and the first page. */
const OPEN_MS = 180_000;

/** What a notebook in a browser shows and does, whatever its way to Spark; `more` are tests of one door alone. */
export const notebookContract = <Opened extends Door>(
  name: string,
  open: (directory: string) => Promise<Opened>,
  more: (visit: () => Visit<Opened>) => void = () => undefined,
): void => {
  describe(`JupyterLab in Chromium, ${name}`, () => {
    let directory: string;
    let browser: Browser | undefined;
    let door: Opened | undefined;
    let notebook: NotebookPage;
    let gates: Gates;

    beforeAll(async () => {
      directory = mkdtempSync(join(tmpdir(), "lw-"));
      gates = new Gates(join(directory, "gates"));
      door = await open(directory);
      browser = await startBrowser();
      notebook = await NotebookPage.open(browser, door.lab, name);
    }, OPEN_MS);
    afterAll(async () => {
      await browser?.close();
      await door?.[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    });
    afterEach(async ({ task }) => {
      if (task.result?.state === "fail") await notebook?.picture(`failed-${task.name.replaceAll(/\W+/g, "-").slice(0, 60)}`);
    });

    test("the launcher has a card with our logo, which opens a notebook", async () => {
      const { card } = door as Opened;
      const logo = notebook.card(card).locator("img");
      await until("the logo is drawn", NEAR_MS, async () => ((await widthOf(logo)) > 0 ? true : undefined));
      expect(await logo.getAttribute("src")).toContain("logo-svg.svg");
      await notebook.picture("launcher");
      await notebook.start(card);
    });

    test("the first cell says how Spark started, and shows its result", async () => {
      const cell = await notebook.run("1 + 1");
      await cell.shows("Spark is starting", 60_000);
      door?.python.letGo();
      await cell.done();
      expect(await cell.outputs.allTextContents()).toEqual([expect.stringMatching(/^Spark [\d.]+ is ready · \S+ · started in/), "2"]);
      await notebook.picture("first", cell.root);
      await notebook.ran(gates.python);
    });

    test("output appears while the cell runs", async () => {
      const cell = await notebook.run("print('first', end='')\nwait('streamed')\nprint('second')");
      expect(await cell.shows("first")).toBe("first");
      expect(await cell.prompt()).toContain("*");
      gates.open("streamed");
      expect(await cell.done()).toBe("firstsecond\n");
    });

    test("a figure is drawn", async () => {
      const cell = await notebook.ran(
        "import matplotlib.pyplot as plt\nplt.figure(figsize=(5, 2.5))\nplt.plot([n ** 2 for n in range(10)])\nplt.title('Squares');",
      );
      await until("it is drawn", NEAR_MS, async () => ((await widthOf(cell.outputs.locator("img"))) > 200 ? true : undefined));
      await notebook.picture("figure", cell.root);
    });

    test("the progress of Spark's jobs is updated in place and collapses to one line at the end", async () => {
      const cell = await notebook.run("def slow(n):\n    wait(f'task-{n}')\n    return n\n\nsc.parallelize(range(8), 8).map(slow).sum()");
      const bar = cell.outputs.locator("progress");
      await cell.shows("0/8 tasks", 60_000);
      gates.open("task-0", "task-1", "task-2");
      await cell.shows("3/8 tasks");
      expect([await bar.count(), await bar.getAttribute("value"), await bar.getAttribute("max")]).toEqual([1, "3", "8"]);
      expect(await cell.outputs.count()).toBe(1);
      await notebook.picture("progress", cell.root);
      gates.open(...["task-3", "task-4", "task-5", "task-6", "task-7"]);
      const text = await cell.done();
      expect(text).toMatch(/^Spark: 1 job, 1 stage, 8 tasks in [\d.]+ .*28$/s);
      expect(await bar.count()).toBe(0);
      expect(await cell.outputs.getByRole("link", { name: "Spark UI" }).count()).toBe(1);
      await notebook.picture("progress-done", cell.root);
    });

    test("the completer knows a DataFrame's columns and methods", async () => {
      await notebook.ran("df = spark.range(5).selectExpr('id', 'id * id AS squared')");
      await notebook.type("df.");
      await notebook.page.keyboard.press("Tab");
      const items = notebook.page.locator(".jp-Completer:not(.lm-mod-hidden) .jp-Completer-item");
      await items.first().waitFor();
      await notebook.picture("completer");
      await notebook.page.keyboard.type("squ");
      await until("only the column is left", NEAR_MS, async () => ((await items.count()) === 1 ? true : undefined));
      await notebook.page.keyboard.press("Enter");
      await until("the column is written", NEAR_MS, async () =>
        (await notebook.cells.last().locator(".cm-content").innerText()) === "df.squared" ? true : undefined,
      );
    });

    test("a call's tooltip shows its documentation", async () => {
      await notebook.write("");
      await notebook.type("df.groupBy(");
      await notebook.page.keyboard.press("Shift+Tab");
      const tooltip = notebook.page.locator(".jp-Tooltip");
      await until("the documentation is shown", NEAR_MS, async () =>
        (await tooltip.allInnerTexts()).some((text) => /Groups the .*DataFrame.* by the specified columns/.test(text)) ? true : undefined,
      );
      await notebook.picture("tooltip");
      await notebook.page.keyboard.press("Escape");
    });

    test("input() asks in the cell", async () => {
      const cell = await notebook.run("name = input('Your name? ')\nprint('Hello', name)");
      const field = cell.root.locator("input.jp-Stdin-input");
      await field.fill("Ann");
      await notebook.picture("input", cell.root);
      await field.press("Enter");
      expect(await cell.done()).toContain("Hello Ann");
    });

    test("an interrupt ends a running Spark job, and the next cell runs", async () => {
      const cell = await notebook.run("sc.parallelize(range(2), 2).foreach(lambda n: wait('never'))");
      await cell.shows("0/2 tasks");
      await notebook.interrupt();
      expect(await cell.done()).toContain("KeyboardInterrupt");
      await notebook.picture("interrupt", cell.root);
      // Spark's tracker hears of a job's end after whoever waited for the job.
      const jobless = "while sc.statusTracker().getActiveJobsIds():\n    time.sleep(0.02)\n\nprint('no job runs')";
      expect(await (await notebook.ran(jobless)).done()).toBe("no job runs\n");
    });

    test("%%sql shows its rows as a table", async () => {
      const cell = await notebook.ran("%%sql\nSELECT id, CASE WHEN id % 3 = 0 THEN '<b>fizz</b>' END AS word FROM range(4)");
      expect(await cell.outputs.locator("table th").allInnerTexts()).toEqual(["id", "word"]);
      expect(await cell.outputs.locator("table td").allInnerTexts()).toEqual([
        "0",
        "<b>fizz</b>",
        "1",
        "NULL",
        "2",
        "NULL",
        "3",
        "<b>fizz</b>",
      ]);
      await notebook.picture("sql", cell.root);
    });

    test("a DataFrame is displayed as a table", async () => {
      const cell = await notebook.ran("display(df)");
      expect(await cell.outputs.locator("table th").allInnerTexts()).toEqual(["id", "squared"]);
      expect(await cell.outputs.locator("table tr").nth(5).innerText()).toMatch(/^4\s+16$/);
      await notebook.picture("table", cell.root);
    });

    test("an error shows its traceback, in colour", async () => {
      const cell = await notebook.ran("def ratio(a, b):\n    return a / b\n\nratio(1, 0)");
      expect(await cell.done()).toMatch(
        /^Traceback.* line 4, in .*ratio\(1, 0\).* line 2, in ratio.*return a \/ b.*ZeroDivisionError: division by zero$/s,
      );
      expect(await cell.outputs.locator(".ansi-red-fg").allTextContents()).toContain("ZeroDivisionError");
      const spark = await notebook.ran("df.select('nothing')");
      expect(await spark.done()).toContain("UNRESOLVED_COLUMN");
      await notebook.picture("traceback", cell.root);
      await notebook.picture("traceback-spark", spark.root);
    });

    test("a widget is shown, and what is done to it reaches Python", async () => {
      const cell = await notebook.ran("import ipywidgets\nslider = ipywidgets.IntSlider(value=7, max=9)\nslider");
      await cell.outputs.locator(".widget-slider .noUi-handle").press("ArrowRight", { timeout: 60_000 });
      await cell.shows("8");
      await notebook.picture("widget", cell.root);
      expect(await (await notebook.ran("slider.value")).done()).toBe("8");
    });

    test("what a widget's handler prints is shown where the widget is", async () => {
      const cell = await notebook.ran("ipywidgets.interact(lambda n: print('printed', n * n), n=(0, 9));");
      await cell.shows("printed 16", 60_000);
      await cell.outputs.locator(".widget-slider .noUi-handle").press("ArrowRight");
      await cell.shows("printed 25");
      expect(await cell.text()).not.toContain("printed 16");
    });

    test("nothing of a running cell is lost or doubled when the page is loaded anew", async () => {
      const cell = await notebook.run("for n in range(30):\n    print(n)\n    if n in (9, 19): arrive(f'at-{n}'); wait(f'from-{n}')");
      await cell.shows(/^9$/m);
      await notebook.save();
      await notebook.leave();
      gates.open("from-9");
      await gates.arrival("at-19");
      await notebook.comeBack();
      const again = notebook.cellOf("for n in range(30):");
      await again.shows(/^19$/m);
      gates.open("from-19");
      expect(await again.done()).toBe(lines(30));
      expect(await (await notebook.ran("df.count()")).done()).toContain("5");
    });

    more(() => new Visit(door as Opened, notebook, gates));

    test.each(["JupyterLab Dark", "JupyterLab Light"])("what Spark does can be read in the theme %s", async (theme) => {
      await notebook.theme(theme);
      const progress = notebook.cellOf("def slow");
      expect(await contrastOf(progress.outputs.getByText("Spark: 1 job").first())).toBeGreaterThan(4.5);
      expect(await contrastOf(notebook.cellOf("%%sql").outputs.locator("td").first())).toBeGreaterThan(4.5);
      await notebook.picture(`${theme.replaceAll(" ", "-")}-progress`, progress.root);
      await notebook.picture(`${theme.replaceAll(" ", "-")}-page`);
    });

    test("a restart gives a new Python in the same Spark application", async () => {
      const application = await (await notebook.ran("sc.applicationId")).done();
      await notebook.restart();
      expect(await (await notebook.ran("'df' in globals()")).done()).toBe("False");
      expect(await (await notebook.ran("sc.applicationId")).done()).toBe(application);
    });
  });
};

/** Width of a picture in its own pixels; 0 when it is not drawn. */
const widthOf = (image: Locator): Promise<number> => image.evaluate((node) => ("naturalWidth" in node ? Number(node.naturalWidth) : 0));

/** What `for n in range(count): print(n)` prints. */
export const lines = (count: number): string => Array.from({ length: count }, (_, n) => `${n}\n`).join("");
