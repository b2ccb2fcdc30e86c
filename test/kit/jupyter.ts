import type { Kernel, KernelMessage } from "@jupyterlab/services";
import { KernelManager, ServerConnection } from "@jupyterlab/services";
import { exchange } from "./http.ts";
import { until } from "./until.ts";

/** What a cell gave, as a notebook would keep it. */
export interface Ran {
  readonly reply: KernelMessage.IExecuteReplyMsg["content"];
  /** Types of all its iopub messages, in order. */
  readonly types: readonly string[];
  readonly messages: readonly KernelMessage.IIOPubMessage[];
  /** All that it wrote to a stream. */
  text(name?: "stdout" | "stderr"): string;
  /** The first bundle it showed as its result. */
  readonly result: Readonly<Record<string, unknown>> | null;
}

/** Settings of a client of this server; nothing of it polls. */
export const settingsOf = (url: string, token = ""): ServerConnection.ISettings =>
  ServerConnection.makeSettings({ baseUrl: `${url}/`, wsUrl: `${url.replace(/^http/, "ws")}/`, token, appendToken: token !== "" });

/** A kernel as `@jupyterlab/services` has it, with its manager: the client of JupyterLab itself. */
export const startKernel = async (
  url: string,
  token = "",
): Promise<{ kernel: Kernel.IKernelConnection; manager: KernelManager } & AsyncDisposable> => {
  const serverSettings = settingsOf(url, token);
  const manager = new KernelManager({ serverSettings, standby: "never" });
  const kernel = await manager.startNew({ name: "spark" });
  return {
    kernel,
    manager,
    [Symbol.asyncDispose]: async () => {
      const { id } = kernel;
      kernel.dispose();
      manager.dispose();
      // On a connection of its own: the client's may lead to a server that is gone.
      await exchange(url, { method: "DELETE", path: `/api/kernels/${id}`, headers: { authorization: `token ${token}` } });
    },
  };
};

export interface Asking extends Partial<KernelMessage.IExecuteRequestMsg["content"]> {
  readonly answers?: readonly string[];
  readonly onMessage?: (message: KernelMessage.IIOPubMessage) => void;
}

/** Runs a cell to its end. */
export const runCell = async (
  kernel: Kernel.IKernelConnection,
  code: string,
  { answers = [], onMessage, ...content }: Asking = {},
): Promise<Ran> => {
  const messages: KernelMessage.IIOPubMessage[] = [];
  const left = [...answers];
  const future = kernel.requestExecute({ code, allow_stdin: answers.length > 0, stop_on_error: false, ...content });
  future.onIOPub = (message) => {
    messages.push(message);
    onMessage?.(message);
  };
  future.onStdin = () => kernel.sendInputReply({ status: "ok", value: left.shift() ?? "" }, future.msg.header as never);
  const reply = (await future.done).content;
  return {
    reply,
    messages,
    types: messages.map(({ header }) => header.msg_type),
    text: (name = "stdout") =>
      messages.flatMap(({ content: each }) => ("name" in each && each.name === name && "text" in each ? [each.text] : [])).join(""),
    result:
      messages.flatMap(({ header, content: each }) =>
        header.msg_type === "execute_result" && "data" in each ? [each.data as never] : [],
      )[0] ?? null,
  };
};

/** Waits until the kernel's Spark takes code. */
export const ready = (kernel: Kernel.IKernelConnection): Promise<unknown> =>
  until("the kernel is idle", 90_000, () => (kernel.status === "idle" ? true : undefined));
