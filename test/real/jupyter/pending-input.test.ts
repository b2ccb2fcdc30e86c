import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";
import { KernelManager, KernelMessage } from "@jupyterlab/services";
import { expect, test } from "vitest";
import { cells, onStage, run } from "../../faces/jupyter/stage.ts";
import { settingsOf } from "../../kit/jupyter.ts";
import { until } from "../../kit/until.ts";

interface Container {
  init(scope: object): void;
  get(): Promise<() => { default: { activate(app: null, tracker: object): void } }>;
}

/** JupyterLab's extension over a notebook without cells. */
const extend = async (kernel: object): Promise<void> => {
  const window: { _JUPYTERLAB?: { longwick: Container } } = {};
  runInNewContext(readFileSync(new URL("../../../kernelspec/labextension/static/remoteEntry.js", import.meta.url), "utf8"), {
    window,
    setTimeout,
  });
  const shares = (exported: object) => ({ "1.0.0": { get: async () => () => exported } });
  window._JUPYTERLAB?.longwick.init({
    "@jupyterlab/notebook": shares({ INotebookTracker: {} }),
    "@jupyterlab/services": shares({ KernelMessage }),
  });
  const plugin = (await window._JUPYTERLAB?.longwick.get())?.().default;
  const silent = { connect: () => undefined };
  const panel = {
    context: { ready: Promise.resolve() },
    sessionContext: { kernelChanged: silent, session: { kernel } },
    content: { widgets: [] },
  };
  plugin?.activate(null, { forEach: (use: (each: object) => void) => use(panel), widgetAdded: silent });
};

test("a page whose question was ended elsewhere runs cells again", { timeout: 60_000 }, () =>
  onStage(async ({ service, driver, url, kernel: id, open }) => {
    const manager = new KernelManager({ serverSettings: settingsOf(url), standby: "never" });
    const kernel = manager.connectTo({ model: { id, name: "spark" } });
    try {
      await extend(kernel);
      const future = kernel.requestExecute({ code: "input()", allow_stdin: true });
      await service.until(() => cells(driver) === 1);
      run(driver, 0, [], false);
      driver.emit("input", { statement: 0, prompt: "name?", password: false });
      await until("it is asked", 10_000, async () => (kernel.hasPendingInput ? true : undefined));
      // Another page's cells leave it as it is.
      const other = await open();
      await other.idle(other.send("shell", "kernel_info_request", {}));
      expect(kernel.hasPendingInput).toBe(true);
      driver.emit("finished", { statement: 0, outcome: "cancelled", rung: "signal" });
      await future.done;
      await until("it waits for no answer", 10_000, async () => (kernel.hasPendingInput ? undefined : true));
    } finally {
      kernel.dispose();
      manager.dispose();
    }
  }),
);
