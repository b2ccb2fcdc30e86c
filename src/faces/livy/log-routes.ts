import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { FastifyReply } from "fastify";
import { type Static, Type } from "typebox";
import type { Life } from "../../core/life.ts";
import { type App, answers, type Room } from "./room.ts";
import { BatchParams, SessionParams } from "./schemas.ts";

const LogQuery = Type.Object({
  follow: Type.Optional(
    Type.String({ description: "The answer goes on with new lines until the session or the batch ends; `false` or `0`: it does not." }),
  ),
});

/** What Livy has not: the whole log of a session or a batch as text, to read in a browser or to follow. */
export const logRoutes = (app: App, room: Room): void => {
  const schema = {
    querystring: LogQuery,
    description: "What `log` has, line by line: notes, the phases of the launch, what the driver wrote, why it ended.",
    response: answers({}),
  };
  const send = (life: Life, { follow }: Static<typeof LogQuery>, reply: FastifyReply): FastifyReply => {
    const left = new AbortController();
    reply.raw.once("close", () => left.abort());
    const signal = AbortSignal.any([left.signal, room.closing]);
    const stream = new PassThrough();
    const pages = life.wholeLog(follow !== undefined && follow !== "false" && follow !== "0", signal);
    // Whoever leaves ends the stream; there is nobody left to tell.
    void pipeline(textOf(pages, room.closing), stream).catch(() => undefined);
    return reply.type("text/plain; charset=utf-8").send(stream);
  };
  app.get(
    "/sessions/:session/driver-log",
    { schema: { ...schema, tags: ["sessions"], params: SessionParams, summary: "A session's whole log as plain text" } },
    (request, reply) => send(room.find(request, "view"), request.query, reply),
  );
  app.get(
    "/batches/:batch/driver-log",
    { schema: { ...schema, tags: ["batches"], params: BatchParams, summary: "A batch's whole log as plain text" } },
    (request, reply) => send(room.findBatch(request, "view"), request.query, reply),
  );
};

/** Ends without a fault when the server goes. */
async function* textOf(pages: AsyncIterable<readonly string[]>, closing: AbortSignal): AsyncGenerator<string> {
  try {
    for await (const page of pages) yield page.map((line) => `${line}\n`).join("");
  } catch (error) {
    if (!closing.aborted) throw error;
  }
}
