import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from "fastify";
import type { TSchema } from "typebox";
import type { Right } from "../../core/access.ts";
import type { Batch } from "../../core/batch.ts";
import { type AuditEvent, publishAudit } from "../../core/events.ts";
import type { Life } from "../../core/life.ts";
import type { Presets } from "../../core/presets.ts";
import type { Schedules } from "../../core/schedules.ts";
import type { Session } from "../../core/session.ts";
import type { Sessions } from "../../core/sessions.ts";
import { badNumber, readInt32 } from "../validation.ts";
import type { PathRules } from "./paths.ts";
import { Message } from "./schemas.ts";
import type { SpecRules } from "./spec.ts";
import { oldSessionObject, sessionObject } from "./view.ts";

export interface LivyOptions {
  readonly sessions: Sessions;
  readonly schedules: Schedules;
  readonly presets: Presets;
  readonly spec: SpecRules;
  readonly paths: PathRules;
  /** How long a GET of an unfinished statement may wait for its end when the request does not say; 0: it never waits. */
  readonly holdMs: number;
  /** How long an answer may wait for a driver that cannot be reached. */
  readonly answerMs: number;
  /** Limit of a statement's request body. */
  readonly statementLimitBytes: number;
  /** Limit of an uploaded file. */
  readonly uploadLimitBytes: number;
  readonly version: string;
  /** Where a history server shows what has ended; null: nowhere. */
  readonly historyUrl: (life: Life) => string | null;
}

export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyInstance["log"],
  TypeBoxTypeProvider
>;
type Asked<Name extends string> = Pick<FastifyRequest, "caller"> & { readonly params: Readonly<Record<Name, string>> };

/** What the routes of this face share. */
export class Room {
  readonly options: LivyOptions;
  /** Aborts when the server begins to go away. */
  readonly closing: AbortSignal;
  /** A session's answer is made once per change, not once per poll. */
  readonly #texts = new WeakMap<Life, { revision: number; at: string; text: string }>();

  constructor(options: LivyOptions, closing: AbortSignal) {
    this.options = options;
    this.closing = closing;
  }

  /**
   * The session a request is about; that somebody asked is a heartbeat.
   * @throws Problem SESSION_NOT_FOUND, FORBIDDEN, INVALID (digits that are no id)
   */
  find({ params, caller }: Asked<"session">, right: Right): Session {
    const session = this.options.sessions.find(checked(params.session), caller, right);
    session.touch(clientOf(caller));
    return session;
  }

  /**
   * The batch a request is about.
   * @throws Problem as `find`
   */
  findBatch({ params, caller }: Asked<"batch">, right: Right): Batch {
    return this.options.sessions.findBatch(checked(params.batch), caller, right);
  }

  /** For what a driver is asked: aborts when the caller leaves, and with a TimeoutError, which is a 503, when that takes too long. */
  asking({ signal }: Pick<FastifyRequest, "signal">): AbortSignal {
    return AbortSignal.any([signal, AbortSignal.timeout(this.options.answerMs)]);
  }

  /** The JSON of one for a caller who knows the server by this address, made by `object` when it has changed. */
  text(life: Life, at: string, object: () => object): string {
    const { revision } = life;
    const known = this.#texts.get(life);
    if (known?.revision === revision && known.at === at) return known.text;
    const text = JSON.stringify(object());
    this.#texts.set(life, { revision, at, text });
    return text;
  }

  /** A session's JSON, as `text`. */
  textOf(session: Session, { publicUrl: at }: Pick<FastifyRequest, "publicUrl">): string {
    return this.text(session, at, () => sessionObject(session, at));
  }

  /** A session's JSON for this client: Livy's own Java client fails on fields it does not know (clients.md §5). */
  textFor(session: Session, request: Pick<FastifyRequest, "headers" | "publicUrl">): string {
    const old = request.headers["user-agent"]?.includes("livy-client-http") === true;
    return old ? JSON.stringify(oldSessionObject(session, request.publicUrl)) : this.textOf(session, request);
  }
}

/** @throws Problem INVALID for digits that are no id */
const checked = (idOrName: string): string => {
  if (/^-?\d+$/.test(idOrName) && readInt32(idOrName) === null) throw badNumber(idOrName);
  return idOrName;
};

export const sendJson = (reply: FastifyReply, text: string): FastifyReply => reply.type("application/json; charset=utf-8").send(text);

/** Who a statement or a heartbeat comes from, as far as the driver is told. */
export const clientOf = ({ name, remote }: FastifyRequest["caller"]): string => name ?? remote ?? "";

export const audit = ({ caller }: FastifyRequest, action: AuditEvent["action"], session: Life, statement: number | null = null): void =>
  publishAudit({
    action,
    user: caller.name,
    remote: caller.remote,
    proxyUser: session.proxyUser,
    session: session.id,
    statement,
    problem: null,
  });

/** What a route answers, for the OpenAPI document; nothing is serialised by it. */
export const answers = (good: Readonly<Record<number, TSchema>>): object => ({ ...good, "4xx": Message, "5xx": Message });
