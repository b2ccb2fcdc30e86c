import { Agent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { Life } from "../../core/life.ts";
import { Problem } from "../../core/problems.ts";
import { checkUi, uiUrlOf } from "./presence.ts";

/** A request to Spark's UI. */
export interface UiRequest {
  readonly method: "GET" | "HEAD" | "POST";
  /** With its query. */
  readonly path: string;
  /** A POST's form. */
  readonly body: string;
  /** The caller's; what may be passed on is picked from them. */
  readonly headers: IncomingHttpHeaders;
  /** What stands before the UI's paths in the caller's eyes. */
  readonly root: string;
}

/** Says nothing of the caller. */
const PASSED_IN = ["accept", "accept-language", "accept-encoding", "cache-control", "if-modified-since", "if-none-match", "range"] as const;
/** The name that the UI is called by; it answers by every name. */
const HOST = "spark-ui";
/** Connections to one session's UI; further requests wait. */
const CONNECTIONS = 8;
const IDLE_MS = 10_000;
/** Until an answer begins: Spark's REST interface takes seconds for its first one. */
const HEAD_MS = 60_000;
/** Until it has ended. */
const WHOLE_MS = 10 * 60_000;

/** The Spark UIs of all sessions: each is spoken to on connections of its own, through its driver's supervisor. */
export class SparkUis {
  readonly #agents = new WeakMap<Life, UiAgent>();
  /**
   * The answer's head, and its body as a stream. Nobody's credentials go along. When the signal aborts, the request ends.
   * @throws Problem NOT_FOUND, DRIVER_UNREACHABLE, NOT_SUPPORTED
   */
  async ask(session: Life, request: UiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    let agent = this.#agents.get(session);
    if (agent === undefined) {
      agent = new UiAgent(session);
      this.#agents.set(session, agent);
    }
    checkUi(session);
    for (;;) {
      try {
        return await send(agent, request, AbortSignal.any([signal, AbortSignal.timeout(WHOLE_MS)]));
      } catch (error) {
        // The UI closed a connection that was idle just as it was used.
        if (error instanceof StaleConnection && request.method !== "POST") continue;
        if (signal.aborted || error instanceof Problem) throw error;
        const why = error instanceof Error ? error.message : String(error);
        throw new Problem("DRIVER_UNREACHABLE", `Spark's UI does not answer: ${why}.`, { cause: error });
      }
    }
  }
}

/** Where a `Location` of the UI's leads, as a path; null when it leads elsewhere. */
export const uiLocation = (location: string, { path, root }: UiRequest): string | null => {
  const target = URL.parse(location, `http://${HOST}${path}`);
  if (target?.host !== HOST) return null;
  const { pathname, search, hash } = target;
  return `${pathname.startsWith(`${root}/`) ? "" : root}${pathname}${search}${hash}`;
};

/** Whether somebody opens a page, and not what belongs to one. */
export const isForPages = ({ accept = "" }: IncomingHttpHeaders): boolean => /\btext\/html\b/.test(accept);

class StaleConnection extends Error {
  override readonly name = "StaleConnection";
}

const send = (agent: Agent, { method, path, headers, body, root }: UiRequest, signal: AbortSignal): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    // What is compressed cannot be added to.
    const names = isForPages(headers) ? PASSED_IN.filter((name) => name !== "accept-encoding") : PASSED_IN;
    const passed = Object.fromEntries(names.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])));
    const request = httpRequest({
      ...{ agent, method, path, signal, host: HOST },
      // Spark puts this before its links (UIUtils.uiRoot).
      headers: { ...passed, host: HOST, "x-forwarded-context": root, ...(method === "POST" ? formHeaders(body) : {}) },
    });
    // It comes paused from the link; now somebody reads it.
    request.once("socket", (socket) => socket.resume());
    const late = setTimeout(() => request.destroy(new Error(`no answer for ${HEAD_MS / 1_000} s`)), HEAD_MS);
    request.once("response", (response) => {
      clearTimeout(late);
      resolve(response);
    });
    request.on("error", (error: Error & { code?: string }) => {
      clearTimeout(late);
      reject(request.reusedSocket && error.code === "ECONNRESET" ? new StaleConnection(error.message) : error);
    });
    request.end(body);
  });

const formHeaders = (body: string) => ({
  "content-type": "application/x-www-form-urlencoded",
  "content-length": Buffer.byteLength(body),
});

/** Its idle connections keep no process alive and end after a while. */
class UiAgent extends Agent {
  readonly #session: Life;

  constructor(session: Life) {
    super({ keepAlive: true, maxSockets: CONNECTIONS, maxFreeSockets: CONNECTIONS, timeout: IDLE_MS });
    this.#session = session;
  }

  override createConnection(_options: unknown, done: (error: Error | null, stream: Duplex) => void): undefined {
    // An error comes without a stream, whatever the type says.
    this.#dial().then(
      (stream) => done(null, stream),
      (error: Error) => done(error, undefined as never),
    );
  }

  async #dial(): Promise<Duplex> {
    const carrier = await this.#session.forward("ui", AbortSignal.timeout(HEAD_MS));
    if (uiUrlOf(this.#session)?.startsWith("https:") !== true) return carrier;
    // Its certificate would be vouched for by the driver itself, whose connection this is already.
    const socket = connectTls({ socket: carrier, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
    carrier.once("close", () => socket.destroy());
    return socket;
  }
}
