import type { IncomingMessage } from "node:http";
import { pipeline } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type TSchema, Type } from "typebox";
import type { Right } from "../../core/access.ts";
import type { Life } from "../../core/life.ts";
import { Problem, type ProblemCode } from "../../core/problems.ts";
import { type App, answers, audit, type Room } from "../livy/room.ts";
import { BatchParams, SessionParams } from "../livy/schemas.ts";
import { type UiAddress, uiAddress } from "./address.ts";
import { KILL_BODY_BYTES, killBody, killForm } from "./kill.ts";
import { withStorage } from "./page-storage.ts";
import { confirmPage, noticePage, PAGE_POLICY } from "./pages.ts";
import { isTicketOf, ticketOf } from "./ticket.ts";
import { isForPages, SparkUis, type UiRequest, uiLocation } from "./upstream.ts";

/**
 * What a driver serves may be anything: its pages have no origin of their own, so they read nothing of this server but themselves, and
 * the server refuses what they send it.
 */
const DRIVER_POLICY =
  "sandbox allow-scripts allow-forms allow-popups allow-modals; default-src 'self' 'unsafe-inline' data: blob:; form-action 'self'; " +
  "base-uri 'none'; object-src 'none'; frame-ancestors 'self'";
const PASSED_OUT = [
  ...["content-type", "content-length", "content-encoding", "content-language", "content-range"],
  ...["accept-ranges", "etag", "last-modified"],
] as const;
const LOOKING: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
/** Spark's own files, which are the same for as long as a ticket holds. */
const STATIC_PATH = /^\/static\//;
const STATIC_CACHE = "private, max-age=3600";
const AGAIN_SECONDS = 3;
const ANYBODY = { name: null, remote: null };
/** What a person is told by a page; the rest is said as everywhere. */
const PAGE_FOR: ReadonlySet<ProblemCode> = new Set(["NOT_FOUND", "SESSION_NOT_FOUND", "DRIVER_UNREACHABLE", "NOT_SUPPORTED"]);

/** What has a UI: the address below which it is, and how the one is found that a request is about. */
interface UiPlace {
  readonly base: "sessions" | "batches";
  readonly tag: string;
  readonly parameter: "session" | "batch";
  readonly params: TSchema;
  find(call: UiCall, right: Right): Life;
  /** Whoever asks. */
  present(call: UiCall): Life;
}

type UiCall = FastifyRequest<{ Params: { session: string; batch: string } }>;

/** Spark's UI of each session and batch, read through the server; killing jobs and stages in it needs the right to modify it. */
export const sparkUiRoutes = (app: App, room: Room): void => {
  const uis = new SparkUis();
  const { sessions } = room.options;
  placeRoutes(app, uis, {
    ...{ base: "sessions", tag: "sessions", parameter: "session", params: SessionParams },
    find: (call, right) => room.find(call, right),
    present: ({ params }) => sessions.find(params.session, ANYBODY, "view"),
  });
  placeRoutes(app, uis, {
    ...{ base: "batches", tag: "batches", parameter: "batch", params: BatchParams },
    find: (call, right) => room.findBatch(call, right),
    present: ({ params }) => sessions.findBatch(params.batch, ANYBODY, "view"),
  });
};

const placeRoutes = (app: App, uis: SparkUis, place: UiPlace): void => {
  const root = `/${place.base}/:${place.parameter}/ui`;
  const addressOf = ({ raw }: FastifyRequest) => uiAddress((raw.url ?? "").slice(app.prefix.length));

  /** Only for what a page of the UI fetches: who opens a page says who he is, as everywhere. */
  const ticket = (request: FastifyRequest): boolean => {
    if (!LOOKING.has(request.method) || request.headers["sec-fetch-mode"] === "navigate") return false;
    try {
      const address = addressOf(request);
      // Called for the routes below alone.
      return !address.kills && isTicketOf(place.present(request as UiCall), address.ticket, Date.now());
    } catch {
      // Who holds none is not told why.
      return false;
    }
  };

  const show = async (request: UiCall, reply: FastifyReply): Promise<FastifyReply> => {
    const address = addressOf(request);
    const session = place.find(request, "view");
    if (request.headers["service-worker"] !== undefined) throw new Problem("NOT_FOUND", "Spark's UI has no service workers.");
    if (!address.kills) return pass(request, reply, session, address);
    place.find(request, "modify");
    // A link that is followed kills nothing: any page may hold one.
    return sendPage(reply, 200, confirmPage(killForm(address, undefined, session.id)));
  };

  const kill = async (request: UiCall, reply: FastifyReply): Promise<FastifyReply> => {
    const address = addressOf(request);
    const session = place.find(request, address.kills ? "modify" : "view");
    if (!address.kills) {
      reply.header("allow", "GET, HEAD");
      throw new Problem("METHOD_NOT_ALLOWED", "POST kills jobs and stages in Spark's UI, and does nothing else there.");
    }
    const form = killForm(address, request.body, session.id);
    // Spark's own form comes from a page without an origin, and so may any other.
    if (request.sender === "foreign page") return sendPage(reply, 200, confirmPage(form));
    audit(request, "cancel", session);
    return pass(request, reply, session, address, killBody(form));
  };

  const pass = async (request: UiCall, reply: FastifyReply, session: Life, { path, query, ticket }: UiAddress, body = "") => {
    const left = new AbortController();
    reply.raw.once("close", () => left.abort());
    const asked: UiRequest = {
      method: request.method as UiRequest["method"],
      path: path + query,
      headers: request.headers,
      body,
      root: `${request.mount}/${place.base}/${session.id}/ui/${ticketOf(session, Date.now())}`,
    };
    const answer = await uis.ask(session, asked, left.signal);
    reply.code(answer.statusCode ?? 500).headers({ ...headersOf(answer, asked), ...readable(ticket) });
    if (STATIC_PATH.test(path) && answer.statusCode === 200) reply.header("cache-control", STATIC_CACHE);
    if (!isPlainPage(answer)) return reply.send(answer);
    reply.removeHeader("content-length");
    return reply.send(request.method === "HEAD" ? answer : pipeline(answer, withStorage(), () => undefined));
  };

  const config = { ticket };
  const schema = { tags: [place.tag], params: place.params };
  app.register((scope, _options, done) => {
    scope.setErrorHandler((error, request, reply) => {
      if (!(error instanceof Problem) || !PAGE_FOR.has(error.code) || !isForPages(request.headers)) throw error;
      const again = error.code === "DRIVER_UNREACHABLE";
      if (again) reply.header("retry-after", String(AGAIN_SECONDS));
      return sendPage(reply, error.status, noticePage(error.message, again));
    });
    scope.get(
      root,
      { config, schema: { ...schema, summary: `Spark's own web UI of a ${place.parameter}`, response: answers({ 302: Type.Unknown() }) } },
      show,
    );
    scope.route({ method: ["GET", "HEAD"], url: `${root}/*`, config, schema: { hide: true }, handler: show });
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "string" }, (_request, form, parsed) => parsed(null, form));
    scope.post(`${root}/*`, { config: { asksFirst: true }, bodyLimit: KILL_BODY_BYTES, schema: { hide: true } }, kill);
    scope.options(`${root}/*`, { config, schema: { hide: true } }, (request, reply) => {
      // jQuery takes the page for one of ours and adds this header.
      const asked = { "access-control-allow-methods": "GET, HEAD", "access-control-allow-headers": "x-requested-with" };
      return reply
        .code(204)
        .headers({ ...readable(addressOf(request).ticket), ...asked, "access-control-max-age": "600" })
        .send();
    });
    done();
  });
};

/** Scripts of a page without an origin may read what a ticket stands for. */
const readable = (ticket: string): Record<string, string> => (ticket === "" ? {} : { "access-control-allow-origin": "null" });

const headersOf = (answer: IncomingMessage, asked: UiRequest): Record<string, string> => {
  const passed = PASSED_OUT.flatMap((name) => (answer.headers[name] === undefined ? [] : [[name, String(answer.headers[name])]]));
  const { location } = answer.headers;
  const target = location === undefined ? null : uiLocation(location, asked);
  return {
    "content-type": "application/octet-stream",
    ...Object.fromEntries(passed),
    ...(target === null ? {} : { location: target }),
    "content-security-policy": DRIVER_POLICY,
    "referrer-policy": "no-referrer",
  };
};

const isPlainPage = ({ headers, statusCode }: IncomingMessage): boolean =>
  statusCode === 200 && headers["content-encoding"] === undefined && /^text\/html\b/i.test(headers["content-type"] ?? "");

const sendPage = (reply: FastifyReply, status: number, page: string): FastifyReply =>
  reply
    .code(status)
    .headers({ "content-type": "text/html; charset=utf-8", "content-security-policy": PAGE_POLICY, "referrer-policy": "no-referrer" })
    .send(page);
