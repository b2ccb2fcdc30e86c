import { v7 as uuidv7 } from "uuid";
import { Problem } from "../../core/problems.ts";
import type { Session } from "../../core/session.ts";
import { readIdempotencyKey } from "./idempotency.ts";
import { type App, answers, audit, clientOf, type Room } from "./room.ts";
import {
  CancelStatement,
  Candidates,
  Completion,
  CreateStatement,
  Message,
  SessionParams,
  StatementList,
  StatementObject,
  StatementParams,
  StatementQuery,
  StatementsQuery,
} from "./schemas.ts";
import { readStatementKind, readTime } from "./spec.ts";
import { statementObject } from "./view.ts";

const tags = ["statements"];
/** The longest a GET may be held, whatever it asks for: proxies cut connections that are silent for longer. */
const HOLD_LIMIT_MS = 60_000;
/** A wait this short may delay the server's end. */
const SHORT_WAIT_MS = 1_000;
const COMPLETION_MS = 10_000;
/** The longest code; the body's limit is higher by what JSON adds to it. */
const CODE_LIMIT_MIB = 64;

/** Every route that is about a session's statements. */
export const statementRoutes = (app: App, room: Room): void => {
  const { statementLimitBytes: bodyLimit, spec } = room.options;
  const { kinds } = spec;
  const schema = { tags, params: SessionParams };
  const schemaOfOne = { tags, params: StatementParams };

  app.get(
    "/sessions/:session/statements",
    {
      schema: {
        ...schema,
        summary: "List a session's statements",
        description: "All of them unless `from` or `size` say otherwise; these are positions, not ids.",
        querystring: StatementsQuery,
        response: answers({ 200: StatementList }),
      },
    },
    async (request) => {
      const session = room.find(request, "view");
      const all = [...(await session.statements(request.signal))];
      const { from = 0, size = all.length, order = "" } = request.query;
      if (order.toLowerCase() === "desc") all.reverse();
      const start = Math.max(0, from);
      const page = await session.whole(all.slice(start, start + Math.max(0, size)), request.signal);
      return { total_statements: all.length, statements: page.map(statementObject) };
    },
  );

  app.post(
    "/sessions/:session/statements",
    {
      bodyLimit,
      schema: {
        ...schema,
        summary: "Run code",
        description:
          "While the session starts this waits for it. With an `Idempotency-Key` header a repeated request answers the same statement and runs nothing twice.",
        body: CreateStatement,
        response: answers({ 201: StatementObject }),
      },
    },
    async (request, reply) => {
      const session = room.find(request, "modify");
      const { body, caller } = request;
      const statement = {
        key: readIdempotencyKey(request) ?? uuidv7(),
        code: codeOf(body),
        kind: readStatementKind(body.kind, session.spec.kind, kinds),
        origin: { face: "livy", client: clientOf(caller) },
        ...{ stopOnError: false, silent: false, stdin: false },
      };
      const id = await session.submit(statement, request.signal);
      audit(request, "submit", session, id);
      reply.code(201).header("location", `${request.mount}/sessions/${session.id}/statements/${id}`);
      return statementObject(await session.statement(id, request.signal));
    },
  );

  app.get(
    "/sessions/:session/statements/:statement",
    {
      schema: {
        ...schemaOfOne,
        summary: "A statement and its output",
        description:
          "The answer to an unfinished one may be held for a moment, longer with `wait`: it comes as soon as the statement ends.",
        querystring: StatementQuery,
        response: answers({ 200: StatementObject }),
      },
    },
    async (request) => {
      const session = room.find(request, "view");
      const { statement: id } = request.params;
      const { wait } = request.query;
      const waitMs = wait === undefined ? room.options.holdMs : Math.min(readWait(wait), HOLD_LIMIT_MS);
      await settled(session, id, waitMs, request.signal, room.closing);
      const statement = await session.statement(id, request.signal);
      // Silent code has no place in Livy's numbering.
      if (statement.silent) throw new Problem("STATEMENT_NOT_FOUND", `Statement '${id}' not found.`);
      return statementObject(statement);
    },
  );

  app.post(
    "/sessions/:session/statements/:statement/cancel",
    { schema: { ...schemaOfOne, summary: "Cancel a statement", body: CancelStatement, response: answers({ 200: Message }) } },
    async (request) => {
      const session = room.find(request, "modify");
      const { statement } = request.params;
      await session.cancel(statement, { restart: request.body?.restart ?? false }, room.asking(request));
      audit(request, "cancel", session, statement);
      return { msg: "canceled" };
    },
  );

  app.post(
    "/sessions/:session/completion",
    {
      bodyLimit,
      schema: { ...schema, summary: "Names that may stand at the cursor", body: Completion, response: answers({ 200: Candidates }) },
    },
    async (request) => {
      const session = room.find(request, "modify");
      const kind = readStatementKind(request.body.kind, session.spec.kind, kinds);
      const code = String(request.body.code).toWellFormed();
      const length = [...code].length;
      const cursor = Math.min(Number(request.body.cursor ?? length), length);
      const { matches, start } = await session.complete(
        code,
        kind,
        cursor,
        AbortSignal.any([request.signal, AbortSignal.timeout(COMPLETION_MS)]),
      );
      return { candidates: namesOf(matches, [...code].slice(start, cursor).join("")) };
    },
  );
};

/** Waits for the statement's end, for `waitMs`, or until the server goes away. */
const settled = async (session: Session, id: number, waitMs: number, signal: AbortSignal, closing: AbortSignal): Promise<void> => {
  if (waitMs <= SHORT_WAIT_MS) return session.settled(id, waitMs, signal);
  try {
    await session.settled(id, waitMs, AbortSignal.any([signal, closing]));
  } catch (error) {
    if (!closing.aborted || signal.aborted) throw error;
  }
};

/** @throws Problem INVALID */
const readWait = (wait: string): number => {
  try {
    return readTime(wait);
  } catch {
    throw new Problem("INVALID", `wait: '${wait.slice(0, 100)}' is no time; write it like 10s, 500ms or 0.`);
  }
};

/**
 * Livy takes numbers for code, and turns line ends of Windows into line feeds.
 * @throws Problem TOO_LARGE
 */
const codeOf = ({ code }: { code: unknown }): string => {
  const text = String(code).replaceAll("\r\n", "\n").toWellFormed();
  if (Buffer.byteLength(text) <= CODE_LIMIT_MIB * 1024 * 1024) return text;
  throw new Problem("TOO_LARGE", `The code is larger than ${CODE_LIMIT_MIB} MiB, the limit.`);
};

/** Livy gives names without what stands before them: `range` for `spark.ran`. */
const namesOf = (matches: readonly string[], typed: string): string[] => {
  const before = typed.slice(0, typed.lastIndexOf(".") + 1);
  return matches.map((match) => (match.startsWith(before) ? match.slice(before.length) : match));
};
