import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Session } from "../../core/session.ts";
import type { RecordFrame } from "../../protocol/frames.ts";
import { type App, answers, type Room } from "./room.ts";
import { StatementParams } from "./schemas.ts";

/** An empty line so often, so that no proxy takes a long silence for an end. */
const KEEP_ALIVE_MS = 20_000;

/** What Livy has not: a statement's output as it comes. */
export const recordRoutes = (app: App, room: Room): void => {
  app.get(
    "/sessions/:session/statements/:statement/records",
    {
      schema: {
        tags: ["statements"],
        params: StatementParams,
        summary: "A statement's records as they come",
        description:
          "One JSON object a line, from the first record to `finished`, with `seq`, `atMs`, `type` and the fields of docs/protocol.md. Empty lines keep the " +
          'connection alive. After `{"type":"reset"}` the driver\'s past is another one: forget what came before, all of it comes again.',
        response: answers({}),
      },
    },
    async (request, reply) => {
      const session = room.find(request, "view");
      const { statement: id } = request.params;
      await session.statement(id, request.signal);
      const signal = AbortSignal.any([request.signal, room.closing]);
      const stream = new PassThrough();
      const alive = setInterval(() => stream.write("\n"), KEEP_ALIVE_MS);
      // Whoever leaves ends the stream; there is nobody left to tell.
      void pipeline(linesOf(session, id, signal), stream)
        .catch(() => undefined)
        .finally(() => clearInterval(alive));
      return reply.type("application/x-ndjson; charset=utf-8").send(stream);
    },
  );
};

async function* linesOf(session: Session, id: number, signal: AbortSignal): AsyncGenerator<string> {
  for await (const record of session.records((session.peek(id)?.firstSeq ?? 1) - 1, signal)) {
    if (record === "reset") yield '{"type":"reset"}\n';
    else if ("statement" in record && record.statement === id) {
      yield lineOf(record);
      if (record.type === "finished") return;
    }
  }
  // The driver is gone, and with it the record of the end.
  const statement = session.peek(id);
  if (signal.aborted || statement?.outcome !== "lost") return;
  const end = { seq: statement.lastSeq, atMs: statement.finishedMs, statement: id };
  const error = statement.outputs.findLast((output) => output.type === "error");
  if (error !== undefined) yield `${JSON.stringify({ ...end, ...error })}\n`;
  yield `${JSON.stringify({ ...end, type: "finished", outcome: "lost", rung: null })}\n`;
}

const lineOf = ({ frame: _frame, ...record }: RecordFrame): string => `${JSON.stringify(record)}\n`;
