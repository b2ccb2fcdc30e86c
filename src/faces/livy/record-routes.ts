import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
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
      void pipeline(linesOf(session.recordsOf(id, signal)), stream)
        .catch(() => undefined)
        .finally(() => clearInterval(alive));
      return reply.type("application/x-ndjson; charset=utf-8").send(stream);
    },
  );
};

async function* linesOf(records: AsyncIterable<RecordFrame | "reset">): AsyncGenerator<string> {
  for await (const record of records) yield record === "reset" ? '{"type":"reset"}\n' : lineOf(record);
}

const lineOf = ({ frame: _frame, ...record }: RecordFrame): string => `${JSON.stringify(record)}\n`;
