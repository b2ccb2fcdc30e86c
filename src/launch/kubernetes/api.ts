import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from "node:https";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import type { KubeConfig } from "@kubernetes/client-node";

/** What the API server answered in place of what was asked for. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  /** Kubernetes' word for it: `AlreadyExists`, `Forbidden`, `Expired`. */
  readonly reason: string;
  /** How long it asks to be left alone; 0: it does not say. */
  readonly retryAfterMs: number;

  constructor(status: number, reason: string, message: string, retryAfterMs: number) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Nobody waited any longer; the message has what the API server, or the way to it, said last. */
export class NoAnswer extends Error {
  override readonly name = "NoAnswer";

  constructor(cause: unknown) {
    super(`the API server gave no answer in time: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

export const isStatus = (error: unknown, ...statuses: readonly number[]): error is ApiError =>
  error instanceof ApiError && statuses.includes(error.status);

export interface ApiCall {
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>> | undefined;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
}

/** Asks for a list of what objects are called and carry, without what they hold. */
export const METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/** What is said of an object's life; names as the API server writes them. */
export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: unknown;
}

/** One answer takes no longer; a server that hangs is asked again. */
const ATTEMPT_MS = 15_000;
const FIRST_PAUSE_MS = 100;
const PAUSE_LIMIT_MS = 5_000;
/** Lists come in pages of so many objects. */
const PAGE = 500;
/** An API server writes a bookmark about once a minute and ends a watch when it was asked to. */
export const WATCH_SECONDS = 300;
const WATCH_QUIET_MS = 150_000;

/**
 * The API server by its REST interface. Calls are repeated until they are answered or the signal aborts: on 429 and 5xx, on a lost
 * connection, on silence. Whoever creates something must take 409 for an answer that an attempt before was lost.
 */
export class Api {
  readonly #config: KubeConfig;
  readonly #base: URL;
  readonly #agent: HttpAgent;

  constructor(config: KubeConfig) {
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new Error("the kubeconfig names no cluster");
    this.#config = config;
    this.#base = new URL(cluster.server.endsWith("/") ? cluster.server : `${cluster.server}/`);
    const options = { keepAlive: true, maxSockets: 64, scheduling: "fifo" } as const;
    // Plain HTTP is how `kubectl proxy` offers an API server.
    this.#agent = this.#base.protocol === "http:" ? new HttpAgent(options) : new HttpsAgent(options);
  }

  get<T>(path: string, signal: AbortSignal, query: ApiCall["query"] = {}, accept?: string): Promise<T> {
    return this.call<T>("GET", path, { query, ...(accept === undefined ? {} : { accept }) }, signal);
  }

  create<T>(path: string, body: unknown, signal: AbortSignal): Promise<T> {
    return this.call<T>("POST", path, { body }, signal);
  }

  /** A JSON merge patch; `metadata.resourceVersion` in it is a precondition (409). */
  merge<T>(path: string, body: unknown, signal: AbortSignal): Promise<T> {
    return this.call<T>("PATCH", path, { body, contentType: "application/merge-patch+json" }, signal);
  }

  /** Gone already is gone. */
  async delete(path: string, signal: AbortSignal, options: object = {}, query: ApiCall["query"] = {}): Promise<void> {
    try {
      await this.call("DELETE", path, { query, body: { kind: "DeleteOptions", apiVersion: "v1", ...options } }, signal);
    } catch (error) {
      if (!isStatus(error, 404)) throw error;
    }
  }

  /** All objects of a list as they are at one moment, and that moment. */
  async list<T>(
    path: string,
    query: ApiCall["query"],
    signal: AbortSignal,
    accept?: string,
  ): Promise<{ items: readonly T[]; resourceVersion: string }> {
    interface Page {
      readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
      readonly items: readonly T[] | null;
    }
    const items: T[] = [];
    let next: string | undefined;
    for (;;) {
      const page: Page = await this.get<Page>(path, signal, { ...query, limit: PAGE, continue: next }, accept);
      items.push(...(page.items ?? []));
      next = page.metadata.continue;
      if (!next) return { items, resourceVersion: page.metadata.resourceVersion ?? "" };
    }
  }

  /** @throws ApiError for a refusal; NoAnswer when a timeout ran out first, else the signal's reason */
  call<T>(method: string, path: string, call: ApiCall, signal: AbortSignal): Promise<T> {
    // Checked border: what a path answers is the API server's contract; what is read of it is checked by who reads.
    return this.#answered(method, path, call, signal, async (response) => (await answerOf(response)) as T);
  }

  /** A text that is not to be held whole: `take` makes of it what is wanted, anew at each attempt. @throws as `call` */
  read<T>(path: string, query: ApiCall["query"], take: (text: AsyncIterable<Buffer>) => Promise<T>, signal: AbortSignal): Promise<T> {
    return this.#answered("GET", path, { query }, signal, take);
  }

  async #answered<T>(
    method: string,
    path: string,
    call: ApiCall,
    signal: AbortSignal,
    take: (response: IncomingMessage) => Promise<T>,
  ): Promise<T> {
    let last: unknown;
    for (let attempt = 0; ; attempt++) {
      try {
        return await take(await this.#send(method, path, call, AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_MS)])));
      } catch (error) {
        if (signal.aborted) throw isTimeout(signal.reason) ? new NoAnswer(last ?? error) : signal.reason;
        if (!isPassing(error, method)) throw error;
        last = error;
        const asked = error instanceof ApiError ? error.retryAfterMs : 0;
        const grown = Math.min(PAUSE_LIMIT_MS, FIRST_PAUSE_MS * 2 ** attempt) * (0.5 + Math.random());
        await pause(Math.max(asked, grown), undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /**
   * Events from a moment on, until the server ends the watch; over a connection of its own, which goes with it. Rejects when that breaks
   * or is silent for too long.
   * @throws ApiError 410 when the past is gone
   */
  async *watch(path: string, query: ApiCall["query"], resourceVersion: string, signal: AbortSignal): AsyncGenerator<WatchEvent> {
    const leave = new AbortController();
    const timer = setTimeout(() => leave.abort(new Error("the watch is silent")), WATCH_QUIET_MS);
    const following = { ...query, resourceVersion, watch: true, allowWatchBookmarks: true, timeoutSeconds: WATCH_SECONDS };
    try {
      const response = await this.#send("GET", path, { query: following }, AbortSignal.any([signal, leave.signal]), true);
      const lines = createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY });
      // Whoever reads is told; a connection that breaks after that must not end the server.
      lines.on("error", () => undefined);
      for await (const line of lines) {
        timer.refresh();
        if (line === "") continue;
        const event = JSON.parse(line) as WatchEvent;
        if (event.type === "ERROR") throw statusError(event.object);
        yield event;
      }
    } finally {
      clearTimeout(timer);
      leave.abort(new Error("the watch was left"));
    }
  }

  /** A text's lines as they come, whole ones, until it ends; over a connection of its own, since it may go on for long. */
  async *lines(path: string, query: ApiCall["query"], signal: AbortSignal): AsyncGenerator<readonly string[]> {
    const response = await this.#send("GET", path, { query: query ?? {} }, signal, true);
    let rest = "";
    for await (const chunk of response.setEncoding("utf8")) {
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop() ?? "";
      if (lines.length > 0) yield lines;
    }
    if (rest !== "") yield [rest];
  }

  /** What a websocket to the API server needs: its address, headers and TLS options. */
  async socketOptions(path: string): Promise<{ url: string; options: RequestOptions }> {
    const options = await this.#options();
    const url = new URL(path.replace(/^\//, ""), this.#base);
    url.protocol = url.protocol === "http:" ? "ws:" : "wss:";
    // Each tunnel is a connection of its own.
    const { agent: _shared, ...own } = options;
    return { url: url.href, options: this.#config.getCurrentCluster()?.proxyUrl === undefined ? own : options };
  }

  close(): void {
    this.#agent.destroy();
  }

  async #options(): Promise<RequestOptions> {
    const options: RequestOptions = {};
    await this.#config.applyToHTTPSOptions(options);
    return this.#config.getCurrentCluster()?.proxyUrl === undefined ? { ...options, agent: this.#agent } : options;
  }

  async #send(method: string, path: string, call: ApiCall, signal: AbortSignal, alone = false): Promise<IncomingMessage> {
    const url = new URL(path.replace(/^\//, ""), this.#base);
    for (const [name, value] of Object.entries(call.query ?? {})) if (value !== undefined) url.searchParams.set(name, String(value));
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const { agent, ...options } = await this.#options();
    const shared = alone && agent === this.#agent ? false : agent;
    const headers: Record<string, string | number> = {
      ...(options.headers as Record<string, string> | undefined),
      accept: call.accept ?? "application/json",
      ...(body === undefined ? {} : { "content-type": call.contentType ?? "application/json", "content-length": Buffer.byteLength(body) }),
    };
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const make = url.protocol === "http:" ? httpRequest : httpsRequest;
      const request = make(url, { ...options, agent: shared, method, headers, signal }, resolve);
      request.on("error", reject);
      request.on("socket", (socket) => socket.setKeepAlive(true, 30_000));
      request.end(body);
    });
    const { statusCode = 0 } = response;
    if (statusCode < 400) return response;
    throw await refusal(response, statusCode);
  }
}

const answerOf = async (response: IncomingMessage): Promise<unknown> => {
  const text = await textOf(response);
  return text === "" ? undefined : response.headers["content-type"]?.startsWith("text/") ? text : JSON.parse(text);
};

const textOf = async (response: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
};

/** What an answer that is none says. */
export const refusal = async (response: IncomingMessage, status: number): Promise<ApiError> => {
  const text = await textOf(response);
  const retryAfterMs = Number(response.headers["retry-after"] ?? 0) * 1_000 || 0;
  try {
    const said = statusError(JSON.parse(text));
    return new ApiError(status, said.reason, said.message, retryAfterMs);
  } catch {
    return new ApiError(status, response.statusMessage ?? "", text.slice(0, 500) || `HTTP status ${status}`, retryAfterMs);
  }
};

const statusError = (object: unknown): ApiError => {
  const { code = 500, reason = "", message = "" } = object as { code?: number; reason?: string; message?: string };
  return new ApiError(code, reason, message || reason || `status ${code}`, 0);
};

const isTimeout = (reason: unknown): boolean => reason instanceof DOMException && reason.name === "TimeoutError";

/** Whether it may go better the next time. What the certificate or the address makes impossible is not, but an operator may mend it. */
const isPassing = (error: unknown, method: string): boolean => {
  // Who creates something has no version to conflict with: it is the quota's count that somebody else changed.
  if (isStatus(error, 409)) return method === "POST" && error.reason === "Conflict";
  if (error instanceof ApiError) return error.status === 429 || error.status >= 500 || error.status === 408;
  return !(error instanceof SyntaxError || error instanceof TypeError);
};
