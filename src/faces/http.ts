import { createServer, type IncomingMessage } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type Duplex, duplexPair } from "node:stream";
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyReply,
  type FastifyRequest,
} from "fastify";
import type { Caller } from "../core/access.ts";
import { publishAudit } from "../core/events.ts";
import { Problem } from "../core/problems.ts";
import { logAccess, METHODS_THAT_CHANGE, numbersOf } from "./access-log.ts";
import type { Auth } from "./auth.ts";
import { parseBody } from "./body.ts";
import type { Certificate } from "./certificate.ts";
import { openApi } from "./openapi.ts";
import { checkHost, foreignPage, type Sender, senderOf } from "./origin.ts";
import { packLarge } from "./packing.ts";
import { Proxies } from "./proxies.ts";
import { AUDITED_REFUSALS, asProblem } from "./refusal.ts";
import { RouteTable } from "./route-table.ts";
import { compileValidator } from "./validation.ts";

export interface HttpOptions {
  /** Where the server lives below its host: empty, or `/prefix` without a slash at the end. */
  readonly basePath: string;
  /** Addresses and networks (CIDR) whose `X-Forwarded-*` headers are believed. */
  readonly trustedProxies: readonly string[];
  /** null: plain HTTP. */
  readonly tls: Certificate | null;
  readonly auth: Auth;
  /** Names besides loopback's by which the server may be called while authentication is off. */
  readonly hostNames: readonly string[];
  /** Web origins besides the server's own whose pages may call. */
  readonly origins: readonly string[];
  /** Whether POST, PUT, PATCH and DELETE need an `X-Requested-By` header, as Livy can ask for. */
  readonly csrfHeader: boolean;
  /** Answers from this size on are compressed for those who ask; not for callers on this machine. */
  readonly gzipFromBytes: number;
  /** Limit of a request's body where a route has none of its own. */
  readonly bodyLimitBytes: number;
  /** Where `/` leads, below the base path. */
  readonly home: string;
  readonly version: string;
  /** Whether sessions can be served; `/readyz` says so. */
  readonly ready: () => boolean;
  readonly log: FastifyBaseLogger;
  readonly faces: readonly Face[];
}

/**
 * One protocol people speak: registers its routes below the base path. They find `request.caller` set and may throw Problems. `closing`
 * aborts when the server begins to go away: whoever holds an answer back gives it then.
 */
export type Face = (app: FastifyInstance, closing: AbortSignal, admit: Admit) => Promise<void> | void;

/** Who makes a request that passes by fastify's routes (a WebSocket's upgrade), and by which `publicUrl`. Rejects with a Problem. */
export type Admit = (request: IncomingMessage) => Promise<{ readonly caller: Caller; readonly publicUrl: string }>;

declare module "fastify" {
  interface FastifyRequest {
    caller: Caller;
    /** What stands before a face's paths in the caller's eyes: what a proxy took off, then the base path. */
    mount: string;
    /** The same with scheme and host: what the caller may be told to follow. */
    readonly publicUrl: string;
    readonly sender: Sender;
  }
  interface FastifyContextConfig {
    /** Answers anybody, by whatever name the server is called, while draining too. */
    open?: boolean;
    /** The body of a refusal, where it is not Livy's. */
    refusal?: (problem: Problem) => object;
    /** Whether the address itself holds the right to what this request asks for: then it needs no credentials and may have any origin. */
    ticket?: (request: FastifyRequest) => boolean;
    /** Foreign pages may send this too: the handler looks at `sender`, and asks the user before it does anything for one. */
    asksFirst?: boolean;
    /** The body is a form that holds a file; whoever serves the route reads it as a stream. */
    form?: boolean;
  }
}

export interface Http {
  readonly app: FastifyInstance;
  /** Listens and resolves with the address as a URL. */
  listen(address: { readonly host: string; readonly port: number }): Promise<string>;
  /** A connection to it from inside of this process: what passes takes no way through the system. */
  dial(): Duplex;
  readonly admit: Admit;
  /** From now on requests are refused with 503 before anything is begun; answers that wait are given. */
  drain(): void;
  /** Drains, waits up to `graceMs` for answers under way and closes every connection. Idempotent. */
  close(graceMs: number): Promise<void>;
}

/** Longer than any client's pause between polls: a connection closed just as a client writes is an error to it (clients.md §1). */
const KEEP_ALIVE_MS = 90_000;
/** How long a request may take to arrive: the largest body over a slow line. */
const REQUEST_MS = 10 * 60_000;

const SECURITY_HEADERS = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "SAMEORIGIN",
  "content-security-policy": "default-src 'none'; frame-ancestors 'self'",
  "cache-control": "no-store",
} as const;

/** Builds the HTTP server every face lives on. Nothing listens before `listen`. */
export const createHttp = async (options: HttpOptions): Promise<Http> => {
  const { auth, log, basePath } = options;
  const proxies = new Proxies(options.trustedProxies);
  const origins = { authenticated: auth.on, hostNames: options.hostNames.map((name) => name.toLowerCase()), origins: options.origins };
  const closing = new AbortController();
  const requestId = countedId();
  const table = new RouteTable();

  const answerError = (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const route = request.routeOptions;
    const problem = asProblem(error, route.bodyLimit ?? options.bodyLimitBytes);
    if (problem === null) {
      // Whoever left did not break anything.
      if (!request.raw.destroyed) log.error({ requestId: request.id, route: route.url ?? null, err: error }, "bug");
      return reply.code(500).send({ msg: `Internal error; the server's log says more about request ${request.id}.` });
    }
    const { code } = problem;
    if (code === "UNAUTHENTICATED") reply.header("www-authenticate", auth.challenge);
    if (code === "TOO_MANY_ATTEMPTS") reply.header("retry-after", "60");
    if (code === "DRAINING") reply.header("retry-after", "1");
    if (METHODS_THAT_CHANGE.has(request.method) || AUDITED_REFUSALS.has(code)) {
      const { session = null, statement = null } = numbersOf(request.params);
      const { name: user, remote } = request.caller;
      publishAudit({ action: "refuse", user, remote, proxyUser: problem.proxyUser, session, statement, problem: code });
    }
    const body = request.is404 ? facelessRefusal(request, problem.message) : (route.config.refusal?.(problem) ?? { msg: problem.message });
    return reply.code(problem.status).send(body);
  };

  const app: FastifyInstance = Fastify({
    serverFactory: (handler) => {
      const timeouts = { keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: REQUEST_MS };
      if (options.tls === null) return createServer(timeouts, handler);
      const server = createTlsServer({ ...timeouts, ...options.tls.pem }, handler);
      server.once("close", options.tls.follow(server));
      // Fastify treats both servers alike; its types know only one.
      return server as never;
    },
    bodyLimit: options.bodyLimitBytes,
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, maxParamLength: 2_048 },
    genReqId: requestId,
    clientErrorHandler: refuseBytes,
    // An address that cannot be decoded; fastify types this reply by a route that there is none of.
    frameworkErrors: (_error, request, reply) =>
      (reply as FastifyReply).code(400).send(facelessRefusal(request, "The address is not well-formed.")),
    return503OnClosing: false,
    logger: false,
  });
  app.setValidatorCompiler(compileValidator);
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.setErrorHandler(answerError);

  // ── In ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, async (request: FastifyRequest, body: Buffer) =>
    // What is no form there holds no file; whoever serves the route says so.
    request.routeOptions.config.form === true ? undefined : parseBody(body, request.headers["content-encoding"]),
  );

  const senderFor = (request: IncomingMessage) => senderOf(proxies.hostOf(request), request.headers.origin, origins);
  const admit = (request: IncomingMessage, remote: string, asksFirst = false): Caller | Promise<Caller> => {
    if (closing.signal.aborted) throw new Problem("DRAINING", "The server is shutting down; try again in a moment.");
    checkHost(proxies.hostOf(request), origins);
    const sender = senderFor(request);
    if (sender === "foreign page" && !asksFirst) throw foreignPage(request.headers.origin);
    // A browser's word for where it comes from says more than a header that a page can set.
    const told = sender === "own page" || sender === "foreign page" || request.headers["x-requested-by"] !== undefined;
    if (options.csrfHeader && !told && METHODS_THAT_CHANGE.has(request.method ?? "")) {
      throw new Problem("INVALID", "Missing Required Header for CSRF protection: X-Requested-By.");
    }
    return auth.identify(request.headers.authorization, remote);
  };
  /** The address is all that is asked for: who has it may look. */
  const admitTicket = (request: IncomingMessage, remote: string): Caller => {
    if (closing.signal.aborted) throw new Problem("DRAINING", "The server is shutting down; try again in a moment.");
    checkHost(proxies.hostOf(request), origins);
    return { name: null, remote };
  };

  const mountOf = (request: IncomingMessage) => proxies.prefixOf(request) + basePath;
  const publicUrlOf = (request: IncomingMessage, mount: string) => `${proxies.protocolOf(request)}://${proxies.hostOf(request)}${mount}`;
  const admitUpgrade: Admit = async (request) => ({
    caller: await admit(request, proxies.remoteOf(request)),
    publicUrl: publicUrlOf(request, mountOf(request)),
  });

  app.decorateRequest("caller");
  app.decorateRequest("mount", basePath);
  app.decorateRequest("publicUrl", {
    getter() {
      return publicUrlOf(this.raw, this.mount);
    },
  });
  app.decorateRequest("sender", {
    getter() {
      return senderFor(this.raw);
    },
  });
  app.addHook("onRequest", (request, reply, done) => {
    const { raw } = request;
    reply.headers(SECURITY_HEADERS).header("x-request-id", request.id);
    // Every body here is JSON, whatever its sender calls it: fastify must neither refuse a type nor stumble over an empty body.
    if (request.routeOptions.config.form !== true) delete raw.headers["content-type"];
    const remote = proxies.remoteOf(raw);
    request.caller = { name: null, remote };
    request.mount = mountOf(raw);
    if (request.routeOptions.config.open === true) return done();
    const { ticket, asksFirst } = request.routeOptions.config;
    const byTicket = ticket !== undefined && raw.headers.authorization === undefined && ticket(request);
    const caller = byTicket ? admitTicket(raw, remote) : admit(raw, remote, asksFirst);
    const go = (known: Caller) => {
      request.caller = known;
      // Before a body is read, which nobody would look at.
      done(request.is404 ? nothingHere(request, reply, table) : undefined);
    };
    if (caller instanceof Promise) caller.then(go, done);
    else go(caller);
  });

  // ── Out ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  app.addHook("onSend", (_request, reply, payload, done) => {
    if (closing.signal.aborted) reply.header("connection", "close");
    done(null, payload);
  });
  app.addHook("onSend", packLarge(options.gzipFromBytes));
  app.addHook("onResponse", (request, reply, done) => {
    logAccess(log, request, reply);
    done();
  });

  // ── Addresses ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  app.addHook("onRoute", (route) => table.add(route));
  app.setNotFoundHandler((request, reply) => {
    throw nothingHere(request, reply, table);
  });

  const health = { config: { open: true }, schema: { hide: true } };
  app.get("/healthz", health, () => ({ status: "ok" }));
  app.get("/readyz", health, (_request, reply) => {
    const status = closing.signal.aborted ? "draining" : options.ready() ? "ready" : "starting";
    return reply.code(status === "ready" ? 200 : 503).send({ status });
  });

  const mounted: FastifyPluginAsync = async (scope) => {
    await openApi(scope, options.version);
    scope.get("/", { schema: { hide: true } }, (request, reply) => {
      return reply.redirect(request.publicUrl + options.home, 302);
    });
    for (const face of options.faces) {
      const room: FastifyPluginAsync = async (inner) => face(inner, closing.signal, admitUpgrade);
      await scope.register(room);
    }
  };
  await app.register(mounted, { prefix: basePath });
  await app.ready();

  // ── Life ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  const close = async (graceMs: number) => {
    closing.abort();
    const cut = setTimeout(() => app.server.closeAllConnections(), graceMs);
    await app.close();
    clearTimeout(cut);
  };
  let closed: Promise<void> | null = null;
  return {
    app,
    // Fastify does not see what its server was made with, and says http of both.
    listen: async ({ host, port }) => (await app.listen({ host, port })).replace(/^http:/, options.tls === null ? "http:" : "https:"),
    dial: () => {
      const [ours, theirs] = duplexPair();
      app.server.emit("connection", Object.assign(theirs, { remoteAddress: "127.0.0.1" }));
      return ours;
    },
    admit: admitUpgrade,
    drain: () => closing.abort(),
    close: (graceMs) => {
      closed ??= close(graceMs);
      return closed;
    },
  };
};

/** Where no route answers, in the words of those who ask below such an address: Jupyter's clients, else Livy's. */
const facelessRefusal = ({ url }: { readonly url: string }, message: string): object =>
  /\/(api|kernelspecs)([/?]|$)/.test(url) ? { message, reason: message } : { msg: message };

/** Why nothing answers: there is no such address, or not for this method. */
const nothingHere = ({ method, url }: FastifyRequest, reply: FastifyReply, table: RouteTable): Problem => {
  const path = url.replace(/\?.*$/s, "");
  const allowed = table.methodsOf(path).join(", ");
  if (allowed === "") return new Problem("NOT_FOUND", `Nothing is at this address: ${method} ${path.slice(0, 200)}`);
  reply.header("allow", allowed);
  return new Problem("METHOD_NOT_ALLOWED", `${method} is not possible here, only ${allowed}.`);
};

/** Ids that no other process of the day gives. */
const countedId = (): (() => string) => {
  const prefix = `${Date.now().toString(36)}${process.pid.toString(36)}`;
  let count = 0;
  return () => {
    count += 1;
    return `${prefix}-${count.toString(36)}`;
  };
};

/** What is no HTTP gets its answer in Livy's shape too. */
const refuseBytes = (error: Error & { code?: string }, socket: Duplex): void => {
  if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
  const status =
    error.code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? "408 Request Timeout"
      : error.code === "HPE_HEADER_OVERFLOW"
        ? "431 Request Header Fields Too Large"
        : "400 Bad Request";
  const body = JSON.stringify({ msg: `${status.slice(4)}: this is no HTTP request that can be read.` });
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
};
