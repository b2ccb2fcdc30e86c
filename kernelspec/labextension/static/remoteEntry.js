/**
 * JupyterLab keeps in the page's memory alone which request is which cell's: a page that was loaded anew shows nothing more of the cells that
 * run. Longwick's kernels know (src/faces/jupyter/cells.ts). This extension asks them when a notebook is opened, and attaches the cells that
 * run, or ended after the notebook was saved, to their requests again: their output is cleared and comes whole, then what follows. What this
 * page has asked for and no kernel knows, because it was lost with a server or on the way to one, is sent again; the same request never runs twice.
 * A cell may so be shown in two pages at once: one that shows its question is let go on when the cell has ended through the other.
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

    /** Cells that show a request of an earlier page, with what they wait for, until it has ended. */
    const attached = new Map();
    const isAttached = (cell) => attached.has(cell) && attached.get(cell) === cell.outputArea.future;

    /** Shows in a cell what its request has shown and will show. */
    const attach = (cell, kernel, { header, content, metadata }) => {
      const { model } = cell;
      // Before the next one of the same id: it takes its id along.
      cell.outputArea.future?.dispose();
      const future = send(kernel, "execute_request", content, { header, metadata });
      cell.outputArea.future = future;
      attached.set(cell, future);
      model.trusted = true;
      model.executionState = "running";
      future.done
        .then(({ content }) => {
          if (content.status !== "aborted") model.executionCount = content.execution_count;
        })
        .catch(() => undefined)
        .finally(() => {
          // Another one has taken its place when the connection was lost meanwhile.
          if (cell.isDisposed || attached.get(cell) !== future) return;
          attached.delete(cell);
          model.executionState = "idle";
        });
    };

    const isCode = (cell) => !cell.isDisposed && cell.model.type === "code";
    // Those that were run in this page show their output already.
    const isEarlier = (cell) => isCode(cell) && (!cell.outputArea.future || isAttached(cell));

    /** Whether a request of this page to this kernel has no answer yet. */
    const waits = async ({ outputArea: { future } }, kernel) => {
      if (!future || future.isDisposed || future.msg.header.session !== kernel.clientId || future.msg.metadata.longwick?.again)
        return false;
      const ended = future.done.then(
        () => true,
        () => true,
      );
      return !(await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 0, false))]));
    };

    /** How often a request was sent again: one that is too long for somebody on the way never arrives, and ends the connection each time. */
    const repeated = new Map();
    const REPEATS = 5;

    const sentAt = ({ outputArea: { future } }) => Date.parse(future.msg.header.date);

    /** Sends again what this page has asked for since then, waits for, and the kernel does not know. */
    const repeat = async (cells, kernel, known, sinceMs) => {
      const lost = [];
      for (const cell of cells) {
        const told = known[cell.model.id]?.header.msg_id;
        const unknown = isCode(cell) && told !== cell.outputArea.future?.msg.header.msg_id;
        if (unknown && (await waits(cell, kernel)) && sentAt(cell) >= sinceMs) lost.push(cell);
      }
      for (const cell of lost.sort((one, other) => sentAt(one) - sentAt(other))) {
        const { future } = cell.outputArea;
        const { msg_id: id } = future.msg.header;
        repeated.set(id, (repeated.get(id) ?? 0) + 1);
        if (repeated.get(id) <= REPEATS) attach(cell, kernel, future.msg);
        else future.dispose();
      }
    };

    /** Asks what became of the notebook's cells; `isLast` says whether nobody has asked since. Answers the session that the kernel is. */
    const resume = async (panel, kernel, before, isLast) => {
      const cells = panel.content.widgets.filter(isCode);
      const asked = send(kernel, "longwick_cells_request", { cells: cells.map(({ model }) => model.id) });
      const { session, cells: known = {} } = (await asked.done).content;
      if (!isLast()) return session;
      const savedMs = Date.parse(panel.context.contentsModel?.last_modified ?? "") || 0;
      for (const cell of cells) {
        const told = known[cell.model.id];
        if (told === undefined || !isEarlier(cell)) continue;
        const changed = told.code !== cell.model.sharedModel.getSource();
        const saved = told.finished !== null && told.finished <= savedMs && !isAttached(cell);
        const again = { content: { code: told.code }, header: told.header, metadata: { longwick: { again: true } } };
        if (!changed && !saved) attach(cell, kernel, again);
      }
      // What was asked of another session would run for a second time.
      if (session !== undefined && session === before.session) await repeat(cells, kernel, known, before.sinceMs);
      return session;
    };

    /** JupyterLab runs no cell until the question that it shows is answered in this page, even if its cell has ended. */
    const unguard = (kernel) => {
      let asking = null;
      kernel.anyMessage.connect((_, { msg }) => {
        if (msg.header.msg_type === "input_request") asking = msg.parent_header.msg_id;
      });
      kernel.iopubMessage.connect((_, { header, parent_header: parent, content }) => {
        if (asking === null || header.msg_type !== "status" || content.execution_state !== "idle" || parent.msg_id !== asking) return;
        asking = null;
        kernel.removeInputGuard();
      });
    };

    const follow = (panel, kernel) => {
      let turn = 0;
      let seen = { session: undefined, sinceMs: 0 };
      const look = () => {
        turn += 1;
        const mine = turn;
        // A kernel that is gone says so itself; an answer that was lost on its way is asked for again, below.
        resume(panel, kernel, seen, () => mine === turn).then(
          (session) => {
            if (session !== undefined && session !== seen.session) seen = { session, sinceMs: seen.session === undefined ? 0 : Date.now() };
          },
          () => undefined,
        );
      };
      const begin = () => {
        unguard(kernel);
        look();
      };
      kernel.info.then(({ implementation }) => implementation === "longwick" && begin()).catch(() => undefined);
      // Our kernels say so whenever the server, or the way to it, was away. To it an earlier page's requests are not this page's.
      kernel.iopubMessage.connect((_, { metadata }) => {
        if (metadata?.longwick_joined === true) look();
      });
    };

    const watch = async (panel) => {
      await panel.context.ready;
      const { sessionContext } = panel;
      sessionContext.kernelChanged.connect((_, { newValue }) => newValue && follow(panel, newValue));
      const kernel = sessionContext.session?.kernel;
      if (kernel) follow(panel, kernel);
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
