import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, chromium, type Locator, type Page } from "playwright-core";
import type { Lab } from "./lab.ts";
import { until } from "./until.ts";

const ARTIFACTS = fileURLToPath(new URL("../../test-artifacts/browser", import.meta.url));
/** A step of the page, on a machine that does other things too. */
const STEP_MS = 30_000;
/** A cell to its end: the first one waits for Spark. */
const CELL_MS = 90_000;
const DONE = /^\[\d+\]:$/;

/** Debian's Chromium, or the one LONGWICK_TEST_CHROMIUM names. No browser is ever downloaded. */
const findChromium = (): string => {
  const named = process.env["LONGWICK_TEST_CHROMIUM"];
  const found = (named === undefined ? ["/usr/bin/chromium", "/usr/bin/chromium-browser"] : [named]).find(existsSync);
  if (found === undefined)
    throw new Error("no Chromium: `apt-get install --no-install-recommends chromium`, or name one by LONGWICK_TEST_CHROMIUM");
  return found;
};

export const startBrowser = (): Promise<Browser> => {
  // Chromium's sandbox does not start for root; the pages are our own.
  const asRoot = process.getuid?.() === 0;
  return chromium.launch({ executablePath: findChromium(), chromiumSandbox: !asRoot, args: ["--disable-dev-shm-usage"] });
};

/** JupyterLab gives its own stylesheet 1.5 seconds and stands there without it afterwards: on a machine that needs longer the page is loaded again. */
const load = (page: Page, address: string): Promise<true> =>
  until("JupyterLab's page is dressed", CELL_MS, async () => {
    await page.goto(address, { timeout: CELL_MS });
    const dressed = page.locator("body[data-jp-theme-name]");
    const bare = page.locator(".jp-Dialog", { hasText: "Error Loading Theme" });
    await dressed.or(bare).first().waitFor({ state: "attached", timeout: CELL_MS });
    return (await bare.count()) === 0 ? true : undefined;
  });

/** A cell that was run, as the page shows it. */
export class Cell {
  readonly root: Locator;
  readonly #prompt: Locator;

  constructor(root: Locator) {
    this.root = root;
    this.#prompt = root.locator(".jp-InputPrompt");
  }

  /** Its outputs, in order. */
  get outputs(): Locator {
    return this.root.locator(".jp-OutputArea-child .jp-OutputArea-output");
  }

  /** `[*]:` while it runs. */
  async prompt(): Promise<string> {
    return (await this.#prompt.textContent()) ?? "";
  }

  /** All that its outputs say. */
  async text(): Promise<string> {
    return (await this.outputs.allTextContents()).join("");
  }

  /** Waits until its text holds, and answers it. */
  shows(what: string | RegExp, deadlineMs = STEP_MS): Promise<string> {
    return until(`the cell shows ${what}`, deadlineMs, async () => {
      const text = await this.text();
      return (typeof what === "string" ? text.includes(what) : what.test(text)) ? text : undefined;
    });
  }

  /** Waits for its end and answers its text. */
  async done(deadlineMs = CELL_MS): Promise<string> {
    await until("the cell has run", deadlineMs, async () => (DONE.test((await this.prompt()).trim()) ? true : undefined));
    return this.text();
  }
}

/** A notebook in a page of JupyterLab, used as by hand. */
export class NotebookPage {
  readonly page: Page;
  readonly #address: string;
  readonly #name: string;

  /** @param name first part of its pictures' names */
  constructor(page: Page, address: string, name: string) {
    this.page = page;
    this.#address = address;
    this.#name = name;
  }

  /** A page of JupyterLab with its launcher. */
  static async open(browser: Browser, lab: Lab, name: string): Promise<NotebookPage> {
    const page = await browser.newPage({ viewport: { width: 1100, height: 800 }, locale: "en-US" });
    page.setDefaultTimeout(STEP_MS);
    // What says that a notebook is not saved.
    page.on("dialog", (dialog) => void dialog.accept());
    await load(page, lab.address);
    await page.locator(".jp-Launcher-body").waitFor({ timeout: CELL_MS });
    return new NotebookPage(page, lab.address, name);
  }

  /** A kernel's card among the launcher's notebooks. */
  card(kernel: string): Locator {
    return this.page.locator(`.jp-LauncherCard[data-category="Notebook"][title="${kernel}"]`);
  }

  /** A new notebook by the launcher's card. */
  async start(kernel: string): Promise<void> {
    await this.card(kernel).click();
    await this.#notebook.waitFor();
    await this.#connected();
    // Room for what is looked at.
    await this.page.keyboard.press("Control+b");
  }

  get #notebook(): Locator {
    return this.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook");
  }

  get cells(): Locator {
    return this.#notebook.locator(".jp-CodeCell");
  }

  /** The notebook's cell of this text. */
  cellOf(text: string): Cell {
    return new Cell(this.cells.filter({ hasText: text }));
  }

  /** Writes into the last cell, which is empty. */
  async write(code: string): Promise<Locator> {
    const last = this.cells.last();
    await last.locator(".cm-content").fill(code);
    return last;
  }

  /** Writes code and runs it by Shift+Enter; does not wait for its end. */
  async run(code: string): Promise<Cell> {
    const index = (await this.cells.count()) - 1;
    await this.write(code);
    await this.page.keyboard.press("Shift+Enter");
    await this.cells.nth(index + 1).waitFor();
    return new Cell(this.cells.nth(index));
  }

  /** Runs code to its end. */
  async ran(code: string): Promise<Cell> {
    const cell = await this.run(code);
    await cell.done();
    return cell;
  }

  /** Writes into the last cell as by hand, key for key. */
  async type(text: string): Promise<void> {
    await this.cells.last().locator(".cm-content").click();
    await this.page.keyboard.type(text);
  }

  async interrupt(): Promise<void> {
    await this.#button("interrupt").click();
  }

  /** Restarts the kernel, and says yes. */
  async restart(): Promise<void> {
    await this.#button("restart").click();
    await this.page.locator(".jp-Dialog .jp-mod-accept").click();
    await this.page.locator(".jp-Dialog").waitFor({ state: "detached" });
    await this.#connected();
  }

  #button(name: string): Locator {
    return this.page.locator(`.jp-NotebookPanel-toolbar [data-jp-item-name="${name}"]`);
  }

  /** Waits until the page has its kernel: what is run before, JupyterLab forgets without a word. */
  async #connected(): Promise<void> {
    await until("the page is connected to its kernel", CELL_MS, async () =>
      (await this.page.evaluate("jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus")) === "connected"
        ? true
        : undefined,
    );
  }

  /** By the menu of settings. */
  async theme(name: string): Promise<void> {
    for (const item of ["Settings", "Theme", name])
      await this.page.locator(".lm-MenuBar-itemLabel, .lm-Menu-itemLabel", { hasText: new RegExp(`^${item}$`) }).click();
    await this.page.locator(`body[data-jp-theme-name="${name}"]`).waitFor({ state: "attached" });
  }

  async save(): Promise<void> {
    await this.page.keyboard.press("Control+s");
    await until("the notebook is saved", STEP_MS, async () =>
      (await this.page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab.lm-mod-current.jp-mod-dirty").count()) === 0 ? true : undefined,
    );
  }

  /** Leaves the page as a closed laptop does. */
  async leave(): Promise<void> {
    await this.page.goto("about:blank");
  }

  /** Comes back to the notebook, in a page that remembers nothing. */
  async comeBack(): Promise<void> {
    await load(this.page, this.#address);
    await this.#notebook.waitFor({ timeout: CELL_MS });
    await this.#connected();
  }

  /** A picture among the tests' artefacts, of the page or of a part of it. */
  async picture(name: string, of: Locator | Page = this.page): Promise<void> {
    mkdirSync(ARTIFACTS, { recursive: true });
    await of.screenshot({ path: join(ARTIFACTS, `${this.#name}-${name}.png`), animations: "disabled" });
  }
}
