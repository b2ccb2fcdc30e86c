import type { FastifyRequest } from "fastify";
import type { Batch } from "../../core/batch.ts";
import { readBatchDraft } from "./batch-draft.ts";
import { batchObject } from "./batch-view.ts";
import { readDryRun, rejected } from "./creation.ts";
import { readIdempotencyKey } from "./idempotency.ts";
import { logPage } from "./log-page.ts";
import { type App, answers, audit, type Room, sendJson } from "./room.ts";
import {
  BatchesQuery,
  BatchList,
  BatchObject,
  BatchParams,
  BatchStateObject,
  CreateBatch,
  CreateQuery,
  Message,
  PageQuery,
  RESOURCES_LIMIT_BYTES,
  SessionLog,
  SessionPlan,
} from "./schemas.ts";
import { planObject } from "./view.ts";

const tags = ["batches"];
const PAGE = 100;

/** Every `/batches` route of Livy's. */
export const batchRoutes = (app: App, room: Room): void => {
  const { sessions, historyUrl } = room.options;
  const schema = { tags, params: BatchParams };
  const shown = (batch: Batch, { publicUrl }: Pick<FastifyRequest, "publicUrl">) =>
    room.text(batch, publicUrl, () => batchObject(batch, publicUrl, historyUrl(batch)));

  app.get(
    "/batches",
    { schema: { tags, summary: "List the batches you may see", querystring: BatchesQuery, response: answers({ 200: BatchList }) } },
    (request, reply) => {
      const { from = 0, size = PAGE, schedule } = request.query;
      const all = sessions
        .listBatches(request.caller)
        .filter(({ application: { run } }) => schedule === undefined || run?.schedule === schedule || run?.scheduleUid === schedule);
      const page = all.slice(Math.max(0, from), Math.max(0, from + size)).map((batch) => shown(batch, request));
      return sendJson(reply, `{"from":${from},"total":${all.length},"sessions":[${page.join(",")}]}`);
    },
  );

  app.post(
    "/batches",
    {
      schema: {
        tags,
        summary: "Run an application to its end",
        description: "With an `Idempotency-Key` header a repeated request answers the same batch and runs nothing twice.",
        querystring: CreateQuery,
        body: CreateBatch,
        response: answers({ 200: SessionPlan, 201: BatchObject }),
      },
      bodyLimit: RESOURCES_LIMIT_BYTES,
    },
    async (request, reply) => {
      const { caller, body, query } = request;
      sessions.checkOpen();
      const dryRun = readDryRun(query.dryRun);
      const key = readIdempotencyKey(request);
      const asked = () => readBatchDraft({ body, doAs: query.doAs }, caller, room.options);
      if (dryRun) {
        const draft = await asked();
        return reply.send(planObject(draft, await sessions.plan(draft, caller, request.signal).catch(rejected)));
      }
      // The file that a repeated request names may be gone.
      const known = key === null ? null : sessions.batchOfKey(key, caller);
      const batch = known ?? (await sessions.createBatch(await asked(), key, caller, request.signal).catch(rejected));
      audit(request, "create", batch);
      reply.code(201).header("location", `${request.mount}/batches/${batch.id}`);
      return sendJson(reply, shown(batch, request));
    },
  );

  app.get("/batches/:batch", { schema: { ...schema, summary: "One batch", response: answers({ 200: BatchObject }) } }, (request, reply) =>
    sendJson(reply, shown(room.findBatch(request, "view"), request)),
  );

  app.get(
    "/batches/:batch/state",
    { schema: { ...schema, summary: "A batch's state", response: answers({ 200: BatchStateObject }) } },
    (request) => {
      const { id, state } = room.findBatch(request, "view");
      return { id, state };
    },
  );

  app.get(
    "/batches/:batch/log",
    {
      schema: {
        ...schema,
        summary: "A batch's log",
        description: "The last `size` lines, 100 unless said; from a position on with `from`; all with a negative `size`.",
        querystring: PageQuery,
        response: answers({ 200: SessionLog }),
      },
    },
    (request) => logPage(room.findBatch(request, "view"), request.query, room.asking(request)),
  );

  app.delete(
    "/batches/:batch",
    { schema: { ...schema, summary: "End a batch and forget it", response: answers({ 200: Message }) } },
    async (request) => {
      const batch = room.findBatch(request, "modify");
      audit(request, "delete", batch);
      await sessions.delete(batch, "it was deleted");
      return { msg: "deleted" };
    },
  );
};
