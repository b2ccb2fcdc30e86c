import { describe, expect, test } from "vitest";
import { Bridge } from "../../src/kernel/bridge.ts";
import { MessageMaker } from "../../src/kernel/messages.ts";
import type { Channel } from "../../src/kernel/sockets.ts";
import { type Parts, Wire } from "../../src/kernel/wire.ts";

type Json = Readonly<Record<string, unknown>>;
interface Out {
  readonly channel: Channel;
  readonly to: string;
  readonly type: unknown;
  readonly parent: unknown;
  readonly content: Json;
}
const json = (bytes: Buffer | undefined): Json => JSON.parse(String(bytes)) as Json;

/** A bridge between a client's frames and a server that is a list. */
const world = () => {
  const wire = new Wire("");
  const out: Out[] = [];
  const upstream = { open: false, sent: [] as { channel: string; parts: Parts }[] };
  const said: string[] = [];
  /** Headers by their ids; the last when several share one. */
  const sent = new Map<string, Json>();
  const bridge = new Bridge({
    wire,
    maker: new MessageMaker("ann"),
    put: (channel, frames) => {
      const message = wire.decode(frames);
      if (typeof message === "string") throw new Error(message);
      const [header, parent, , content] = message.parts;
      const to = message.identities.map(String).join("/");
      out.push({ channel, to, type: json(header)["msg_type"], parent: json(parent)["msg_id"], content: json(content) });
    },
    upstream: {
      get open() {
        return upstream.open;
      },
      send: (channel, parts) => upstream.sent.push({ channel, parts }),
    },
    kernelInfo: () => ({ status: "ok", implementation: "longwick" }),
    events: {
      onShutdown: (restart) => said.push(`shutdown ${restart}`),
      onDead: () => said.push("dead"),
      onDropped: (what) => said.push(what),
    },
  });
  const parts = (type: string, id: string, content: Json = {}, parent: Json = {}): Parts =>
    [{ msg_id: id, msg_type: type, session: "s", date: String(out.length + sent.size) }, parent, {}, content].map((part) =>
      Buffer.from(JSON.stringify(part)),
    );
  return {
    ...{ bridge, out, said, upstream },
    ask: (channel: "shell" | "control" | "stdin", from: string, type: string, id: string, content: Json = {}) => {
      const frames = parts(type, id, content);
      sent.set(id, json(frames[0]));
      bridge.take(channel, wire.encode([Buffer.from(from)], frames));
    },
    tell: (channel: string, type: string, parent: string, content: Json = {}) =>
      bridge.deliver(channel, parts(type, `of-${parent}`, content, sent.get(parent) ?? { msg_id: parent, msg_type: "x" })),
    open: () => {
      upstream.open = true;
      bridge.opened();
    },
    asked: () => upstream.sent.map(({ channel, parts: [header] }) => `${channel} ${json(header)["msg_type"]} ${json(header)["msg_id"]}`),
    seen: () => out.map(({ channel, to, type, parent }) => [channel, to, type, parent].join(" ")),
  };
};

describe("a bridge", () => {
  test("brings each answer to the client that asked, once, and its parts as they came", () => {
    const { ask, tell, open, out, seen } = world();
    open();
    ask("shell", "ann", "execute_request", "1");
    ask("control", "bob", "interrupt_request", "2");
    tell("control", "interrupt_reply", "2", { status: "ok", extra: [1, { deep: "é" }] });
    tell("shell", "execute_reply", "1");
    tell("shell", "execute_reply", "1");
    expect(seen()).toEqual(["control bob interrupt_reply 2", "shell ann execute_reply 1"]);
    expect(out[0]?.content).toEqual({ status: "ok", extra: [1, { deep: "é" }] });
  });

  test("tells requests of one id apart, as clients of one manager send them", () => {
    const { ask, tell, open, seen } = world();
    open();
    ask("shell", "ann", "execute_request", "1");
    ask("control", "manager", "interrupt_request", "1");
    tell("control", "interrupt_reply", "1");
    ask("shell", "bob", "execute_request", "1");
    tell("shell", "execute_reply", "1");
    expect(seen()).toEqual(["control manager interrupt_reply 1", "shell bob execute_reply 1"]);
  });

  test("asks for input only the client whose cell runs, on its stdin, and passes the answer on", () => {
    const { ask, tell, open, seen, asked } = world();
    open();
    ask("shell", "ann", "execute_request", "1");
    ask("shell", "bob", "execute_request", "2");
    tell("stdin", "input_request", "2");
    expect(seen()).toEqual(["stdin bob input_request 2"]);
    ask("stdin", "bob", "input_reply", "3");
    expect(asked().at(-1)).toBe("stdin input_reply 3");
  });

  test("publishes what the server does under the message's topic", () => {
    const { tell, seen } = world();
    tell("iopub", "stream", "1");
    expect(seen()).toEqual(["iopub kernel.stream stream 1"]);
  });

  test("answers what it is at once, and keeps all else in order until there is a server", () => {
    const { ask, open, seen, asked } = world();
    ask("shell", "ann", "kernel_info_request", "0");
    expect(seen()).toEqual(["iopub kernel.status status 0", "shell ann kernel_info_reply 0", "iopub kernel.status status 0"]);
    ask("shell", "ann", "execute_request", "1");
    ask("shell", "ann", "comm_open", "2");
    ask("shell", "bob", "complete_request", "3");
    expect(asked()).toEqual([]);
    open();
    ask("shell", "ann", "kernel_info_request", "4");
    expect(asked()).toEqual(["shell execute_request 1", "shell comm_open 2", "shell complete_request 3", "shell kernel_info_request 4"]);
  });

  test("sends again what has no answer when the server is back, once each time, and messages without answers only when they never went", () => {
    const { ask, tell, open, upstream, asked } = world();
    open();
    for (const id of ["1", "2"]) ask("shell", "ann", "execute_request", id);
    ask("shell", "ann", "comm_msg", "3");
    tell("shell", "execute_reply", "1");
    upstream.open = false;
    ask("shell", "ann", "execute_request", "4");
    ask("shell", "ann", "comm_msg", "5");
    upstream.sent.length = 0;
    open();
    expect(asked()).toEqual(["shell execute_request 2", "shell execute_request 4", "shell comm_msg 5"]);
    upstream.sent.length = 0;
    open();
    expect(asked()).toEqual(["shell execute_request 2", "shell execute_request 4"]);
  });

  test("answers itself what is longer than the server takes, and does not send it again", () => {
    const { bridge, ask, open, upstream, out, asked } = world();
    open();
    ask("shell", "ann", "execute_request", "1", { code: "short" });
    ask("shell", "ann", "execute_request", "2", { code: "long".repeat(1_000) });
    ask("shell", "ann", "execute_request", "3", { code: "short" });
    upstream.open = false;
    bridge.refuseLongest();
    const [reply] = out.filter(({ channel }) => channel === "shell");
    expect([reply?.parent, reply?.content["ename"]]).toEqual(["2", "MessageTooLong"]);
    upstream.sent.length = 0;
    open();
    expect(asked()).toEqual(["shell execute_request 1", "shell execute_request 3"]);
  });

  test("blames no request for a longer message that has no answer", () => {
    const { bridge, ask, open, upstream, out, said, asked } = world();
    open();
    ask("shell", "ann", "execute_request", "1", { code: "short" });
    ask("shell", "ann", "comm_msg", "2", { data: "long".repeat(1_000) });
    upstream.open = false;
    bridge.refuseLongest();
    expect(out).toEqual([]);
    expect(said).toEqual([expect.stringMatching(/^shell: a comm_msg of 4\d{3} bytes is longer than the server takes$/)]);
    upstream.sent.length = 0;
    open();
    expect(asked()).toEqual(["shell execute_request 1"]);
  });

  test("drops what is no message, and says so once for each kind", () => {
    const { bridge, said, out, tell } = world();
    for (let time = 0; time < 3; time += 1) {
      bridge.take("shell", [Buffer.from("x")]);
      bridge.take(
        "shell",
        ["<IDS|MSG>", "", "[1]", "{}", "{}", "{}"].map((text) => Buffer.from(text)),
      );
      bridge.take(
        "control",
        ["<IDS|MSG>", "", "\x80", "{}", "{}", "{}"].map((text) => Buffer.from(text)),
      );
      bridge.deliver("iopub", [Buffer.from("null")]);
      bridge.deliver("shell", []);
      tell("shell", "execute_reply", "unknown");
    }
    expect(out).toEqual([]);
    expect(said).toEqual([
      "shell: no delimiter",
      "shell: a header that is none",
      "control: a header that is none",
      "the server published a header that is none",
    ]);
  });

  test.for([true, false])("answers shutdown, restart %s, on control and on iopub, and then tells", (restart) => {
    const { ask, out, said, seen } = world();
    ask("control", "ann", "shutdown_request", "1", { restart });
    expect(seen()).toEqual([
      "iopub kernel.status status 1",
      "control ann shutdown_reply 1",
      "iopub kernel.status status 1",
      "iopub kernel.shutdown_reply shutdown_reply 1",
    ]);
    expect(out[1]?.content).toEqual({ status: "ok", restart });
    expect(said).toEqual([`shutdown ${restart}`]);
  });

  test("aborts cells that wait for a server when they are interrupted", () => {
    const { ask, open, out, asked } = world();
    ask("shell", "ann", "execute_request", "1");
    ask("control", "ann", "interrupt_request", "2");
    expect(out.filter(({ channel }) => channel !== "iopub").map(({ type, content }) => [type, content["status"]])).toEqual([
      ["interrupt_reply", "ok"],
      ["execute_reply", "aborted"],
    ]);
    open();
    expect(asked()).toEqual([]);
  });

  test("answers everything with the reason when there is no server and will be none", () => {
    const { bridge, ask, out, said } = world();
    ask("shell", "ann", "execute_request", "1");
    bridge.fail("PrepareError", "There is no Python.");
    ask("shell", "ann", "complete_request", "2");
    ask("shell", "ann", "kernel_info_request", "3");
    ask("control", "ann", "shutdown_request", "4");
    expect(
      out.filter(({ channel }) => channel !== "iopub").map(({ type, content }) => [type, content["status"], content["evalue"]]),
    ).toEqual([
      ["execute_reply", "error", "There is no Python."],
      ["complete_reply", "error", "There is no Python."],
      ["kernel_info_reply", "ok", undefined],
      ["shutdown_reply", "ok", undefined],
    ]);
    expect(out.filter(({ type }) => type === "error").map(({ parent }) => parent)).toEqual(["1"]);
    expect(said).toEqual(["shutdown false"]);
  });

  test("keeps the states of the process for itself: it started once, and it outlives the driver", () => {
    const { bridge, tell, out, said } = world();
    bridge.started();
    tell("iopub", "status", "", { execution_state: "starting" });
    tell("iopub", "status", "", { execution_state: "dead" });
    tell("iopub", "status", "", { execution_state: "restarting" });
    expect(out.map(({ content }) => content["execution_state"])).toEqual(["starting", "restarting"]);
    expect(said).toEqual(["dead"]);
  });

  test("shows a notice in the first cell without an answer and changes it there; nowhere when there is none", () => {
    const { bridge, ask, open, out, seen } = world();
    const notice = { id: "n", text: "away", parent: null };
    expect(bridge.notice(notice)).toEqual(notice);
    open();
    ask("shell", "ann", "execute_request", "1");
    const shown = bridge.notice(notice);
    bridge.notice({ ...shown, text: "back" });
    expect(seen()).toEqual(["iopub kernel.display_data display_data 1", "iopub kernel.update_display_data update_display_data 1"]);
    expect(out.map(({ content }) => content["transient"])).toEqual([{ display_id: "n" }, { display_id: "n" }]);
  });

  test("welcomes a subscriber under what it subscribed to", () => {
    const { bridge, out } = world();
    bridge.welcome(Buffer.from("kernel.stream"));
    expect(out).toEqual([
      { channel: "iopub", to: "kernel.stream", type: "iopub_welcome", parent: undefined, content: { subscription: "kernel.stream" } },
    ]);
  });
});
