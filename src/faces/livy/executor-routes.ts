import type { FastifyReply, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import type { Life } from "../../core/life.ts";
import { Problem } from "../../core/problems.ts";
import { type App, answers, type Room } from "./room.ts";
import { BatchParams, ExecutorList, SessionParams } from "./schemas.ts";

const LINES = 1_000;
const LINES_LIMIT = 100_000;

const LogQuery = Type.Object({
  size: Type.Optional(Type.Integer({ minimum: 1, maximum: LINES_LIMIT, description: `The last so many lines; ${LINES} unless said.` })),
});
const executor = Type.String({ description: "An executor's name, as the list has it." });

/** What Livy has not: the executors of a session or a batch, and their logs, for as long as they are there. */
export const executorRoutes = (app: App, room: Room): void => {
  const list = async (life: Life, base: string, { publicUrl, signal }: Pick<FastifyRequest, "publicUrl" | "signal">) => ({
    executors: (await life.executorWorkloads(signal)).map(({ name, state }) => ({
      ...{ name, state },
      logUrl: `${publicUrl}/${base}/${life.id}/executors/${encodeURIComponent(name)}/log`,
    })),
  });
  const log = async (life: Life, name: string, { size = LINES }: Static<typeof LogQuery>, signal: AbortSignal, reply: FastifyReply) => {
    const text = await life.executorLog(name, size, signal);
    if (text === null) throw new Problem("NOT_FOUND", `Executor '${name.slice(0, 100)}' is not there; its log goes with it.`);
    return reply.type("text/plain; charset=utf-8").send(text);
  };
  const listing = { summary: "Executors that are workloads of their own", response: answers({ 200: ExecutorList }) };
  const reading = { summary: "The log of an executor as plain text", querystring: LogQuery, response: answers({}) };
  app.get("/sessions/:session/executors", { schema: { ...listing, tags: ["sessions"], params: SessionParams } }, (request) =>
    list(room.find(request, "view"), "sessions", request),
  );
  app.get("/batches/:batch/executors", { schema: { ...listing, tags: ["batches"], params: BatchParams } }, (request) =>
    list(room.findBatch(request, "view"), "batches", request),
  );
  app.get(
    "/sessions/:session/executors/:executor/log",
    { schema: { ...reading, tags: ["sessions"], params: Type.Object({ ...SessionParams.properties, executor }) } },
    (request, reply) => log(room.find(request, "view"), request.params.executor, request.query, request.signal, reply),
  );
  app.get(
    "/batches/:batch/executors/:executor/log",
    { schema: { ...reading, tags: ["batches"], params: Type.Object({ ...BatchParams.properties, executor }) } },
    (request, reply) => log(room.findBatch(request, "view"), request.params.executor, request.query, request.signal, reply),
  );
};
