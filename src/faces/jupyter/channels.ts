import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { FastifyInstance } from "fastify";
import { WebSocketServer } from "ws";
import type { Caller } from "../../core/access.ts";
import { publishAudit } from "../../core/events.ts";
import { Problem } from "../../core/problems.ts";
import type { Admit } from "../http.ts";
import { AUDITED_REFUSALS } from "../refusal.ts";
import { Connection } from "./connection.ts";
import { V1_PROTOCOL } from "./frames.ts";
import type { Kernel } from "./kernel.ts";
import type { Kernels } from "./kernels.ts";
import { readPosition } from "./position.ts";

export interface ChannelsOptions {
  readonly basePath: string;
  /** The longest message. */
  readonly messageLimitBytes: number;
  readonly admit: Admit;
}

const SESSION_ID_CHARS = 255;

/** `GET /api/kernels/{id}/channels` becomes a WebSocket; every refusal comes before that, as an HTTP answer. */
export const channels = (app: FastifyInstance, kernels: Kernels, options: ChannelsOptions): void => {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: options.messageLimitBytes,
    // Processor time for each frame, and nothing won on the networks that notebooks are on.
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(V1_PROTOCOL) ? V1_PROTOCOL : false),
  });
  const path = new RegExp(`^${options.basePath.replaceAll(".", "\\.")}/api/kernels/([^/]+)/channels/?$`);
  app.server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // Whoever leaves now has nothing to be told.
    socket.on("error", () => socket.destroy());
    open(request)
      .then(({ kernel, caller, publicUrl, url }) => {
        sockets.handleUpgrade(request, socket, head, (client) => {
          kernel.join(new Connection(client, socket, kernel, { ...optionsOf(request, url, client.protocol, publicUrl), caller }));
        });
      })
      .catch((error: unknown) => refuse(socket, error, request));
  });

  const open = async (request: IncomingMessage): Promise<Opened> => {
    const url = URL.parse(request.url ?? "", "http://localhost");
    if (url === null) throw new Problem("INVALID", "The address is none.");
    const [, id] = path.exec(url.pathname) ?? [];
    if (id === undefined) throw new Problem("NOT_FOUND", "Only /api/kernels/{id}/channels is a WebSocket.");
    const { headers } = request;
    const token = url.searchParams.get("token");
    // Browsers cannot give a WebSocket a header.
    if (token !== null && token !== "" && !/\S\s+\S/.test(headers.authorization ?? "")) headers.authorization = `token ${token}`;
    const { caller, publicUrl } = await options.admit(request);
    const kernel = decodeURIComponent(id);
    await kernels.seek(kernel);
    return { kernel: kernels.find(kernel, caller, "modify"), caller, publicUrl, url };
  };
};

interface Opened {
  readonly kernel: Kernel;
  readonly caller: Caller;
  readonly publicUrl: string;
  readonly url: URL;
}

const optionsOf = ({ headers }: IncomingMessage, { searchParams }: URL, protocol: string, publicUrl: string) => {
  const counted = searchParams.get("longwick") === "1";
  return {
    framing: protocol === V1_PROTOCOL ? ("v1" as const) : ("legacy" as const),
    textOnly: protocol !== V1_PROTOCOL && /^Tornado\//.test(headers["user-agent"] ?? ""),
    sessionId: (searchParams.get("session_id") ?? "").slice(0, SESSION_ID_CHARS),
    counted,
    publicUrl: searchParams.get("reach") === "driver" ? null : publicUrl,
    after: counted ? readPosition(searchParams.get("after") ?? "") : null,
  };
};

const refuse = (socket: Duplex, error: unknown, { socket: peer }: IncomingMessage): void => {
  const problem = error instanceof Problem ? error : null;
  if (problem !== null && AUDITED_REFUSALS.has(problem.code)) {
    const nobody = { user: null, remote: peer.remoteAddress ?? null, proxyUser: null, session: null, statement: null };
    publishAudit({ ...nobody, action: "refuse", problem: problem.code });
  }
  const status = problem?.status ?? (error instanceof URIError ? 400 : 500);
  const message = problem?.message ?? "The kernel's channels cannot be opened.";
  const body = JSON.stringify({ message, reason: message });
  const retry = status === 503 ? "Retry-After: 1\r\n" : "";
  const challenge = status === 401 ? 'WWW-Authenticate: Bearer realm="longwick"\r\n' : "";
  // Node's server leaves such a socket to us, and its other end may never hang up.
  socket.once("finish", () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${retry}${challenge}Connection: close\r\n\r\n${body}`,
  );
};
