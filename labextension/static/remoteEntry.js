/**
 * JupyterLab keeps in the page's memory alone which request is which cell's: a page that was loaded anew shows nothing more of the cells that
 * run. Longwick's kernels know (src/faces/jupyter/cells.ts). This extension asks them when a notebook is opened, and attaches the cells that
 * run, or ended after the notebook was saved, to their requests again: their output is cleared and comes whole, then what follows.
 *
 * It is a container of module federation, as JupyterLab loads prebuilt extensions, written by hand: there is nothing to bundle.
 */
(() => {
  let scope = {};
  const shared = async (name) => {
    const [provided] = Object.values(scope[name] ?? {});
    if (provided === undefined) throw new Error(`longwick: this front end does not share ${name}`);
    return (await provided.get())();
  };

  const extension = async () => {
    const { INotebookTracker } = await shared("@jupyterlab/notebook");
    const { KernelMessage } = await shared("@jupyterlab/services");

    const send = (kernel, msgType, content, { metadata = {}, header = {} } = {}) => {
      const { clientId: session, username } = kernel;
      const message = KernelMessage.createMessage({ channel: "shell", msgType, session, username, content, metadata });
      Object.assign(message.header, header);
      return kernel.sendShellMessage(message, true, false);
    };

    /** Cells that show a request of an earlier page, until it has ended. */
    const attached = new Set();

    /** Shows in a cell what its request has shown and will show. */
    const attach = (cell, kernel, { code, header }) => {
      const { model } = cell;
      const future = send(kernel, "execute_request", { code }, { header, metadata: { longwick: { again: true } } });
      cell.outputArea.future = future;
      attached.add(cell);
      model.trusted = true;
      model.executionState = "running";
      future.done
        .then(({ content }) => {
          if (content.status !== "aborted") model.executionCount = content.execution_count;
        })
        .catch(() => undefined)
        .finally(() => {
          // Another one has taken its place when the connection was lost meanwhile.
          if (cell.isDisposed || cell.outputArea.future !== future) return;
          attached.delete(cell);
          model.executionState = "idle";
        });
    };

    const resume = async (panel, kernel) => {
      const { implementation } = await kernel.info;
      if (implementation !== "longwick") return;
      // Those that were run in this page show their output already.
      const isOurs = (cell) => cell.model.type === "code" && (!cell.outputArea.future || attached.has(cell));
      const cells = panel.content.widgets.filter(isOurs);
      const asked = send(kernel, "longwick_cells_request", { cells: cells.map(({ model }) => model.id) });
      const { cells: known = {} } = (await asked.done).content;
      const savedMs = Date.parse(panel.context.contentsModel?.last_modified ?? "") || 0;
      for (const cell of cells) {
        const told = known[cell.model.id];
        if (told === undefined || cell.isDisposed || !isOurs(cell)) continue;
        const changed = told.code !== cell.model.sharedModel.getSource();
        const saved = told.finished !== null && told.finished <= savedMs;
        if (!changed && !saved) attach(cell, kernel, told);
      }
    };

    const watch = async (panel) => {
      await panel.context.ready;
      const start = (kernel) => {
        if (!kernel) return;
        // A kernel that is gone says so itself.
        const look = () => resume(panel, kernel).catch(() => undefined);
        void look();
        // The server was away, or the way to it: it tells again what this page has asked for, and an earlier page's requests are not.
        kernel.iopubMessage.connect((_, { metadata }) => {
          if (metadata?.longwick_joined === true && attached.size > 0) void look();
        });
      };
      panel.sessionContext.kernelChanged.connect((_, { newValue }) => start(newValue));
      start(panel.sessionContext.session?.kernel);
    };

    return {
      id: "longwick:resume",
      description: "Attaches cells that run to their requests after the page was loaded anew.",
      autoStart: true,
      requires: [INotebookTracker],
      activate: (_, tracker) => {
        tracker.forEach(watch);
        tracker.widgetAdded.connect((_, panel) => watch(panel));
      },
    };
  };

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB.longwick = {
    init: (given) => {
      scope = given;
    },
    get: async () => {
      const plugin = await extension();
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
