import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Type } from "typebox";
import { Problem } from "../../core/problems.ts";
import type { DriverLines } from "../../core/session-log.ts";
import { type App, answers, type Room } from "./room.ts";
import { BatchParams } from "./schemas.ts";

const LineQuery = Type.Object({
  attempt: Type.Optional(Type.Integer({ description: "From which attempt on; 1 unless said." })),
  line: Type.Optional(Type.Integer({ description: "From which of its lines on; 0 unless said." })),
});
/** An empty line so often, so that no proxy takes a long silence for an end. */
const KEEP_ALIVE_MS = 20_000;

/** What Livy has not: the lines of a batch's drivers with their numbers, for who must not lose or repeat one when the server is restarted. */
export const driverLineRoutes = (app: App, room: Room): void => {
  app.get(
    "/batches/:batch/driver-lines",
    {
      schema: {
        tags: ["batches"],
        params: BatchParams,
        querystring: LineQuery,
        summary: "What a batch's drivers write, as it comes, with numbers",
        description:
          "One JSON object a line: `attempt`, `line` (the number of the first) and `lines`; after an attempt's lines its `end` and whether it is the `last`, " +
          "after which nothing comes. A connection that ends before that is made again from the last place on. Empty lines keep it alive.",
        response: answers({}),
      },
    },
    (request, reply) => {
      const batch = room.findBatch(request, "view");
      const { attempt = 1, line = 0 } = request.query;
      if (attempt < 1 || line < 0) throw new Problem("INVALID", "Attempts count from 1, lines from 0.");
      const left = new AbortController();
      reply.raw.once("close", () => left.abort());
      const signal = AbortSignal.any([left.signal, room.closing]);
      const stream = new PassThrough();
      const alive = setInterval(() => stream.write("\n"), KEEP_ALIVE_MS);
      // Whoever leaves ends the stream; there is nobody left to tell.
      void pipeline(textOf(batch.driverLines({ attempt, line }, signal), room.closing), stream)
        .catch(() => undefined)
        .finally(() => clearInterval(alive));
      return reply.type("application/x-ndjson; charset=utf-8").send(stream);
    },
  );
};

/** Ends without a fault when the server goes. */
async function* textOf(pieces: AsyncIterable<DriverLines>, closing: AbortSignal): AsyncGenerator<string> {
  try {
    for await (const piece of pieces) yield `${JSON.stringify(shown(piece))}\n`;
  } catch (error) {
    if (!closing.aborted) throw error;
  }
}

const shown = (piece: DriverLines): object => {
  if ("lines" in piece) return piece;
  const { attempt, end, last } = piece;
  const { state, reason, cause = null, exitCode = null } = end;
  return { attempt, end: { state, reason, cause, exitCode }, last };
};
