import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Type } from "typebox";
import { type App, answers, type Room } from "./room.ts";
import { SessionParams } from "./schemas.ts";

const LogQuery = Type.Object({
  follow: Type.Optional(
    Type.String({ description: "The answer goes on with new lines until the session ends; `false` or `0`: it does not." }),
  ),
});

/** What Livy has not: a session's whole log as text, to read in a browser or to follow. */
export const logRoutes = (app: App, room: Room): void => {
  app.get(
    "/sessions/:session/driver-log",
    {
      schema: {
        tags: ["sessions"],
        params: SessionParams,
        querystring: LogQuery,
        summary: "A session's whole log as plain text",
        description: "What `log` has, line by line: notes, the phases of the launch, what the driver wrote, why it ended.",
        response: answers({}),
      },
    },
    (request, reply) => {
      const session = room.find(request, "view");
      const { follow } = request.query;
      const left = new AbortController();
      reply.raw.once("close", () => left.abort());
      const signal = AbortSignal.any([left.signal, room.closing]);
      const stream = new PassThrough();
      const pages = session.wholeLog(follow !== undefined && follow !== "false" && follow !== "0", signal);
      // Whoever leaves ends the stream; there is nobody left to tell.
      void pipeline(textOf(pages, room.closing), stream).catch(() => undefined);
      return reply.type("text/plain; charset=utf-8").send(stream);
    },
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
