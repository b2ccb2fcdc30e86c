import { join } from "node:path";
import type { Kernel, KernelMessage } from "@jupyterlab/services";
import { KernelAPI, KernelSpecAPI, SessionAPI } from "@jupyterlab/services";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Gates } from "../../kit/gates.ts";
import { HeldPython } from "../../kit/held-python.ts";
import { runCell, settingsOf, startKernel } from "../../kit/jupyter.ts";
import { Livy, type Statement } from "../../kit/livy.ts";
import { type Server, startServer } from "../../kit/server.ts";
import { until } from "../../kit/until.ts";

const PATIENCE_MS = 60_000;

describe("JupyterLab's own client", () => {
  let server: Server;
  let started: Awaited<ReturnType<typeof startKernel>>;
  let kernel: Kernel.IKernelConnection;
  let python: HeldPython;
  let gates: Gates;
  /** What the kernel was said to be before its driver began. */
  let info: KernelMessage.IInfoReply;

  beforeAll(async () => {
    python = await HeldPython.make();
    server = await startServer({ python: python.path });
    gates = new Gates(join(server.directory, "gates"));
    python.hold();
    started = await startKernel(server.url);
    kernel = started.kernel;
    info = await kernel.info;
    const first = runCell(kernel, "x = 20");
    python.letGo();
    expect((await first).reply.status).toBe("ok");
  });
  afterAll(async () => {
    await started?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
    python[Symbol.dispose]();
  });

  test("is told what the kernel is before its driver runs", () => {
    expect(info).toMatchObject({ implementation: "longwick", protocol_version: "5.5", language_info: { name: "python" } });
  });

  test("finds kernelspecs with logos", async () => {
    const specs = await KernelSpecAPI.getSpecs(settingsOf(server.url));
    expect(specs.default).toBe("spark");
    const logo = specs.kernelspecs["spark"]?.resources["logo-svg"] ?? "";
    const answer = await fetch(new URL(logo, server.url));
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "image/svg+xml"]);
  });

  test("gets output and result in the specification's order, then the reply, then idle", async () => {
    const ran = await runCell(kernel, "print('a'); import sys; print('b', file=sys.stderr); x + 1");
    // A stream comes in as many pieces as the machine's pace makes of it.
    const order = ran.messages.map(({ header, content }) => ("name" in content ? String(content.name) : header.msg_type));
    const pieced = order.filter((each, index) => each !== order[index - 1]);
    expect(pieced).toEqual(["status", "execute_input", "stdout", "stderr", "execute_result", "status"]);
    expect([ran.text(), ran.text("stderr"), ran.result]).toEqual(["a\n", "b\n", { "text/plain": "21" }]);
    expect(ran.reply).toMatchObject({ status: "ok", payload: [], user_expressions: {} });
    expect(ran.reply.execution_count).toBeGreaterThan(1);
  });

  test("counts like In and Out, and neither silent nor unstored code counts", async () => {
    const first = (await runCell(kernel, "1")).reply.execution_count ?? 0;
    const silent = await runCell(kernel, "print('never'); 5", { silent: true });
    expect(silent.types).toEqual(["status", "status"]);
    const unstored = await runCell(kernel, "6", { store_history: false });
    expect(unstored.result).toEqual({ "text/plain": "6" });
    expect([silent.reply.execution_count, unstored.reply.execution_count]).toEqual([first, first]);
    const next = await runCell(kernel, "len(In)");
    expect(next.reply.execution_count).toBe(first + 1);
    expect(next.result).toEqual({ "text/plain": String(first + 2) });
  });

  test("an error comes once as output and once as reply, and drops what the client queued behind it", async () => {
    const failing = runCell(kernel, `${gates.python}\nwait("behind"); 1/0`, { stop_on_error: true });
    const behind = runCell(kernel, "print('not run')");
    const [session] = await sessionsOf(server);
    const livy = new Livy(server.url);
    await until("the second one is in the queue", PATIENCE_MS, async () => {
      const { statements } = await livy.expect<{ statements: readonly Statement[] }>(
        200,
        "GET",
        `/sessions/${session}/statements?order=DESC&size=1`,
      );
      return statements[0]?.code === "print('not run')" ? true : undefined;
    });
    livy.close();
    gates.open("behind");
    const [failed, dropped] = await Promise.all([failing, behind]);
    expect(failed.types.filter((type) => type === "error")).toHaveLength(1);
    expect(failed.reply).toMatchObject({ status: "error", ename: "ZeroDivisionError", evalue: "division by zero" });
    expect(dropped.reply.status).toBe("aborted");
    expect(dropped.types).toEqual(["status", "status"]);
    expect((await runCell(kernel, "7")).result).toEqual({ "text/plain": "7" });
  });

  // How soon is for the benchmarks to say.
  test("what a cell writes shows before it writes more", async () => {
    const ran = await runCell(kernel, `${gates.python}\nfor i in range(5):\n    print(i); wait(f"seen-{i}")`, {
      onMessage: ({ header, content }) => {
        if (header.msg_type === "stream" && "text" in content) gates.open(`seen-${String(content.text).trim()}`);
      },
    });
    expect(ran.text()).toBe("0\n1\n2\n3\n4\n");
  });

  test("100,000 lines come in few messages, complete", async () => {
    const ran = await runCell(kernel, "for i in range(100_000): print(i)");
    expect(ran.text()).toBe(Array.from({ length: 100_000 }, (_, index) => `${index}\n`).join(""));
    // One for each 64 KiB, and some twenty a second where the machine is slow.
    expect(ran.types.length).toBeLessThan(5_000);
  });

  test("display ids, updates and clear_output", async () => {
    const ran = await runCell(
      kernel,
      "from IPython.display import display, clear_output\nh = display('one', display_id='d1'); h.update('two'); clear_output(wait=True)",
    );
    expect(ran.types).toEqual(["status", "execute_input", "display_data", "update_display_data", "clear_output", "status"]);
    expect(ran.messages[2]?.content).toMatchObject({ transient: { display_id: "d1" }, data: { "text/plain": "'one'" } });
    expect(ran.messages[4]?.content).toEqual({ wait: true });
  });

  test("user expressions, pages and next inputs come with the reply", async () => {
    const ran = await runCell(kernel, "x = 3", { user_expressions: { good: "x + 1", bad: "nope" } });
    expect(ran.reply).toMatchObject({
      user_expressions: { good: { status: "ok", data: { "text/plain": "4" } }, bad: { status: "error", ename: "NameError" } },
    });
    const page = await runCell(kernel, "len?");
    expect(page.types).not.toContain("stream");
    expect(page.reply).toMatchObject({ payload: [{ source: "page", data: { "text/plain": expect.stringContaining("len") } }] });
  });

  test("completes and inspects, counting code points", async () => {
    await runCell(kernel, "df = spark.range(3).withColumnRenamed('id', 'schnee')");
    const code = "s = '😀漢'; df.sch";
    const completed = (await kernel.requestComplete({ code, cursor_pos: [...code].length })).content;
    expect(completed).toMatchObject({ status: "ok", cursor_end: [...code].length });
    expect("matches" in completed && completed.matches.some((match) => match.endsWith("schnee"))).toBe(true);
    const inspected = (await kernel.requestInspect({ code: "spark.range(", cursor_pos: 12, detail_level: 0 })).content;
    expect(inspected).toMatchObject({ found: true, data: { "text/plain": expect.stringContaining("start") } });
    expect((await kernel.requestInspect({ code: "nope", cursor_pos: 2, detail_level: 0 })).content).toMatchObject({
      status: "ok",
      found: false,
    });
  });

  test("completes while a cell runs", async () => {
    const running = runCell(kernel, `${gates.python}\narrive("runs"); wait("completed")`);
    await gates.arrival("runs");
    const { content } = await kernel.requestComplete({ code: "spar", cursor_pos: 4 });
    expect(content).toMatchObject({ matches: expect.arrayContaining(["spark"]) });
    gates.open("completed");
    await running;
  });

  test.each([
    ["1 + 1", "complete", undefined],
    ["for i in range(3):", "incomplete", "    "],
    ["1 1", "invalid", undefined],
  ])("says of %j that it is %s", async (code, status, indent) => {
    const { content } = await kernel.requestIsComplete({ code });
    expect(content).toEqual(indent === undefined ? { status } : { status, indent });
  });

  test("history: tail, range and search, with what REST ran", async () => {
    await runCell(kernel, "'needle 1'");
    const [session] = await sessionsOf(server);
    const livy = new Livy(server.url);
    await livy.run(session ?? 0, "'needle by REST'");
    livy.close();
    await runCell(kernel, "'needle 2'");
    const ask = async (content: object) => {
      const { content: said } = await kernel.requestHistory({ output: false, raw: true, ...content } as never);
      return "history" in said ? said.history : [];
    };
    expect((await ask({ hist_access_type: "tail", n: 2 })).map(([, , code]) => code)).toEqual(["'needle by REST'", "'needle 2'"]);
    expect((await ask({ hist_access_type: "search", pattern: "*needle ?'", n: 10 })).map(([, , code]) => code)).toEqual([
      "'needle 1'",
      "'needle 2'",
    ]);
    expect(await ask({ hist_access_type: "range", session: 0, start: 1, stop: 2 })).toEqual([[0, 1, "x = 20"]]);
    const { content } = await kernel.requestHistory({ output: true, raw: true, hist_access_type: "tail", n: 1 } as never);
    expect("history" in content && content.history[0]?.[2]).toEqual(["'needle 2'", "'needle 2'"]);
  });

  test("input() and getpass ask the client that sent the cell", async () => {
    const ran = await runCell(kernel, "import getpass\ninput('name? ') + getpass.getpass('word? ')", { answers: ["ann ", "secret"] });
    expect(ran.result).toEqual({ "text/plain": "'ann secret'" });
    const refused = await runCell(kernel, "input()");
    expect(refused.reply).toMatchObject({ status: "error", ename: "StdinNotImplementedError" });
  });

  test("an interrupt stops Python, Spark and input(), and Spark is of use after it", async () => {
    for (const code of ["while True: pass", "spark.range(10**12).selectExpr('sum(id * 2)').collect()"]) {
      const running = runCell(kernel, code);
      await until("the cell runs", PATIENCE_MS, () => (kernel.status === "busy" ? true : undefined));
      await kernel.interrupt();
      expect((await running).reply).toMatchObject({ status: "error", ename: "KeyboardInterrupt" });
    }
    const asked = Promise.withResolvers<void>();
    const future = kernel.requestExecute({ code: "input()", allow_stdin: true });
    future.onStdin = () => asked.resolve();
    await asked.promise;
    await kernel.interrupt();
    expect((await future.done).content).toMatchObject({ ename: "KeyboardInterrupt" });
    expect((await runCell(kernel, "spark.range(5).count()")).result).toEqual({ "text/plain": "5" });
  });

  test("a cell with Spark jobs shows how far they are, and one line at its end", async () => {
    const ran = await runCell(kernel, `${gates.python}\nspark.sparkContext.parallelize(range(8), 8).map(lambda i: wait("shown")).count()`, {
      onMessage: ({ header }) => {
        if (header.msg_type === "display_data") gates.open("shown");
      },
    });
    const shown = ran.messages.filter(({ header }) => header.msg_type.endsWith("display_data"));
    expect(shown[0]?.header.msg_type).toBe("display_data");
    const texts = shown.map(({ content }) => ("data" in content ? String((content.data as Record<string, unknown>)["text/plain"]) : ""));
    expect(texts[0]).toMatch(/^Spark: \d+% · \d+\/8 tasks/);
    expect(texts.at(-1)).toMatch(/^Spark: 1 job, 1 stage, 8 tasks in \d/);
    expect(new Set(shown.map(({ content }) => JSON.stringify("transient" in content && content.transient))).size).toBe(1);
    expect((await runCell(kernel, "sum(range(10))")).types).not.toContain("display_data");
  });

  test("tasks of which none ends for a while are shown all the same", async () => {
    // The second time everything runs at the first look, and nothing changes before it is shown.
    for (const name of ["first", "second"]) {
      const ran = await runCell(
        kernel,
        `${gates.python}\nspark.sparkContext.parallelize(range(2), 2).map(lambda i: wait("${name}")).count()`,
        {
          onMessage: ({ header }) => {
            if (header.msg_type === "display_data") gates.open(name);
          },
        },
      );
      expect(ran.reply.status).toBe("ok");
    }
  });

  test("ipywidgets: a widget is opened, changed from the front end, and its handler runs", async () => {
    const opened = new Map<string, Kernel.IComm>();
    kernel.registerCommTarget("jupyter.widget", (comm) => void opened.set(comm.commId, comm));
    const ran = await runCell(
      kernel,
      "import ipywidgets as w\ns = w.IntSlider(value=3); s.observe(lambda c: print('now', c['new']), 'value'); display(s)",
    );
    expect(ran.types).toContain("comm_open");
    expect(ran.messages.find(({ header }) => header.msg_type === "display_data")?.content).toMatchObject({
      data: { "application/vnd.jupyter.widget-view+json": { model_id: expect.any(String) } },
    });
    const id = String((await runCell(kernel, "print(s.model_id, end='')")).text());
    const comm = opened.get(id);
    const info = await kernel.requestCommInfo({ target_name: "jupyter.widget" });
    expect("comms" in info.content && Object.keys(info.content.comms)).toContain(id);
    const printed: string[] = [];
    kernel.iopubMessage.connect((_, { header, content }) => {
      if (header.msg_type === "stream" && "text" in content) printed.push(content.text as string);
    });
    // What the page's widget manager says when the slider is moved.
    comm?.send({ method: "update", state: { value: 8 }, buffer_paths: [] });
    await until("the handler has printed", PATIENCE_MS, () => (printed.join("").includes("now 8") ? true : undefined));
    expect((await runCell(kernel, "s.value")).result).toEqual({ "text/plain": "8" });
    const unknown = kernel.createComm("nobody.knows.this");
    const closed = Promise.withResolvers<void>();
    unknown.onClose = () => closed.resolve();
    unknown.open({});
    await closed.promise;
  });

  test("binary attachments go both ways unchanged", async () => {
    await runCell(
      kernel,
      "import comm\ndef back(c, m):\n    c.on_msg(lambda m: c.send({'n': len(m['buffers'])}, buffers=[bytes(b)[::-1] for b in m['buffers']]))\ncomm.get_comm_manager().register_target('echo', back)",
    );
    const echo = kernel.createComm("echo");
    const answer = Promise.withResolvers<{ n: unknown; bytes: number[][] }>();
    echo.onMsg = ({ content, buffers = [] }) =>
      answer.resolve({
        n: (content.data as { n: unknown }).n,
        bytes: buffers.map((buffer) => [
          ...new Uint8Array("buffer" in buffer ? buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) : buffer),
        ]),
      });
    echo.open({});
    echo.send({}, undefined, [Uint8Array.from([0, 1, 255]).buffer, new ArrayBuffer(0)]);
    expect(await answer.promise).toEqual({ n: 2, bytes: [[255, 1, 0], []] });
  });

  test("a restart keeps the driver and Spark's application, and forgets variables and numbers", async () => {
    const application = (await runCell(kernel, "kept = 1; print(sc.applicationId, end='')")).text();
    await kernel.restart();
    const ran = await runCell(kernel, "print(sc.applicationId, end=''); 'kept' in globals()");
    expect([ran.text(), ran.result, ran.reply.execution_count]).toEqual([application, { "text/plain": "False" }, 1]);
  });

  test("a crash of Python shows as a restart, with the cell's error", async () => {
    const states: string[] = [];
    kernel.statusChanged.connect((_, status) => states.push(status));
    const ran = await runCell(kernel, "print('last'); print('words'); import os; os._exit(3)");
    expect(ran.text()).toBe("last\nwords\n");
    expect(ran.reply).toMatchObject({ status: "error", ename: "InterpreterLost" });
    await until("the client heard of it", PATIENCE_MS, () => (states.includes("autorestarting") ? true : undefined));
    expect((await runCell(kernel, "1 + 1")).result).toEqual({ "text/plain": "2" });
  });

  test("Jupyter's sessions and models say what there is", async () => {
    const settings = settingsOf(server.url);
    const models = await KernelAPI.listRunning(settings);
    expect(models.map(({ id }) => id)).toContain(kernel.id);
    const session = await SessionAPI.startSession(
      { name: "n.ipynb", path: "dir/n.ipynb", type: "notebook", kernel: { id: kernel.id, name: "spark" } } as never,
      settings,
    );
    expect(session).toMatchObject({ path: "dir/n.ipynb", kernel: { id: kernel.id } });
    expect((await SessionAPI.listRunning(settings)).map(({ id }) => id)).toContain(session.id);
  });

  test("a second client sees what the first runs, and gets no question that is not its own", async () => {
    const other = started.manager.connectTo({ model: { id: kernel.id, name: "spark" } });
    const seen: string[] = [];
    other.iopubMessage.connect((_, { header, content }) => {
      if (header.msg_type === "stream" && "text" in content) seen.push(content.text as string);
    });
    await other.info;
    await runCell(kernel, "print('for all')");
    await until("the other client has seen it", PATIENCE_MS, () => (seen.join("").includes("for all") ? true : undefined));
    expect((await runCell(other, "input('?')", { answers: ["mine"] })).result).toEqual({ "text/plain": "'mine'" });
    const livy = new Livy(server.url);
    const [session] = await sessionsOf(server);
    const object = await livy.expect<{ longwick: { clients: readonly unknown[] } }>(200, "GET", `/sessions/${session}`);
    livy.close();
    expect(object.longwick.clients).toHaveLength(2);
    other.dispose();
  });
});

const sessionsOf = async (server: Server): Promise<readonly number[]> => {
  const livy = new Livy(server.url);
  const { sessions } = await livy.expect<{ sessions: readonly { id: number }[] }>(200, "GET", "/sessions");
  livy.close();
  return sessions.map(({ id }) => id);
};
