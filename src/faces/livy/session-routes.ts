import { Type } from "typebox";
import { readDryRun, rejected } from "./creation.ts";
import { logPage } from "./log-page.ts";
import { checkUris } from "./paths.ts";
import { type App, answers, audit, type Room, sendJson } from "./room.ts";
import {
  CreateQuery,
  CreateSession,
  Message,
  PageQuery,
  SessionList,
  SessionLog,
  SessionObject,
  SessionParams,
  SessionPlan,
  SessionStateObject,
} from "./schemas.ts";
import { readPresetName, readSpec } from "./spec.ts";
import { planObject } from "./view.ts";

const tags = ["sessions"];
const PAGE = 100;

/** Every `/sessions` route that is about a session itself. */
export const sessionRoutes = (app: App, room: Room): void => {
  const { sessions, presets } = room.options;
  const schema = { tags, params: SessionParams };

  app.get(
    "/sessions",
    { schema: { tags, summary: "List the sessions you may see", querystring: PageQuery, response: answers({ 200: SessionList }) } },
    (request, reply) => {
      const { from = 0, size = PAGE } = request.query;
      const all = sessions.list(request.caller);
      const page = all.slice(Math.max(0, from), Math.max(0, from + size)).map((session) => room.textOf(session, request));
      return sendJson(reply, `{"from":${from},"total":${all.length},"sessions":[${page.join(",")}]}`);
    },
  );

  app.post(
    "/sessions",
    {
      schema: {
        tags,
        summary: "Start a session",
        querystring: CreateQuery,
        body: CreateSession,
        response: answers({ 200: SessionPlan, 201: SessionObject }),
      },
      bodyLimit: 4 * 1024 * 1024,
    },
    async (request, reply) => {
      const { caller, body, query } = request;
      sessions.checkOpen();
      const dryRun = readDryRun(query.dryRun);
      const preset = presets.choose(readPresetName(body), caller);
      const asked = readSpec({ body, doAs: query.doAs, preset }, room.options.spec);
      const spec = await checkUris(asked.spec, room.options.paths, caller);
      const draft = { owner: caller.name, spec, notes: asked.notes };
      if (dryRun) return reply.send(planObject(draft, await sessions.plan(draft, caller, request.signal).catch(rejected)));
      const session = await sessions.create(draft, caller, request.signal).catch(rejected);
      audit(request, "create", session);
      reply.code(201).header("location", `${request.mount}/sessions/${session.id}`);
      return sendJson(reply, room.textFor(session, request));
    },
  );

  app.get(
    "/sessions/:session",
    { schema: { ...schema, summary: "One session", response: answers({ 200: SessionObject }) } },
    (request, reply) => sendJson(reply, room.textFor(room.find(request, "view"), request)),
  );

  app.delete(
    "/sessions/:session",
    { schema: { ...schema, summary: "End a session and forget it", response: answers({ 200: Message }) } },
    async (request) => {
      const session = room.find(request, "modify");
      audit(request, "delete", session);
      await sessions.delete(session, "it was deleted");
      return { msg: "deleted" };
    },
  );

  app.get(
    "/sessions/:session/state",
    { schema: { ...schema, summary: "A session's state", response: answers({ 200: SessionStateObject }) } },
    (request) => {
      const { id, state } = room.find(request, "view");
      return { id, state };
    },
  );

  app.get(
    "/sessions/:session/log",
    {
      schema: {
        ...schema,
        summary: "A session's log",
        description: "The last `size` lines, 100 unless said; from a position on with `from`; all with a negative `size`.",
        querystring: PageQuery,
        response: answers({ 200: SessionLog }),
      },
    },
    (request) => logPage(room.find(request, "view"), request.query, room.asking(request)),
  );

  app.post(
    "/sessions/:session/connect",
    { schema: { ...schema, summary: "One session, as Livy's Java client attaches to it", response: answers({ 200: SessionObject }) } },
    (request, reply) => sendJson(reply, room.textFor(room.find(request, "modify"), request)),
  );

  app.post(
    "/sessions/:session/interrupt",
    { schema: { ...schema, summary: "Interrupt the statement that runs", response: answers({ 200: Message }) } },
    async (request) => {
      const session = room.find(request, "modify");
      const statement = await session.interrupt(room.asking(request));
      audit(request, "interrupt", session, statement);
      return { msg: "interrupted" };
    },
  );

  app.post(
    "/sessions/:session/stop",
    { schema: { ...schema, summary: "End a session; it stays listed as dead", response: answers({ 204: Type.Null() }) } },
    async (request, reply) => {
      const session = room.find(request, "modify");
      audit(request, "delete", session);
      await session.stop("dead", "it was stopped");
      return reply.code(204).send();
    },
  );
};
