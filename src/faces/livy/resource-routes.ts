import type { FastifyInstance } from "fastify";
import type { Static } from "typebox";
import { v7 as uuidv7 } from "uuid";
import { Problem } from "../../core/problems.ts";
import type { Session } from "../../core/session.ts";
import { isFinalStatement } from "../../core/states.ts";
import { readUploadUri } from "../../core/upload-uri.ts";
import type { Uploads } from "../../core/uploads.ts";
import { discard, leaving, readForm, takeForms } from "./form.ts";
import { checkUri } from "./paths.ts";
import { type App, answers, audit, clientOf, type Room } from "./room.ts";
import { AddResource, Message, SessionParams } from "./schemas.ts";

const tags = ["sessions"];
/** How long adding may take, code that runs before it included. */
const ADD_MS = 60_000;

/** How each is done in the driver; the URI comes as a Python literal. User code may have taken the names `spark` and `sc`. */
const ADDING = {
  file: (uri: string) => `__import__("pyspark").SparkContext.getOrCreate().addFile(${uri})`,
  pyfile: (uri: string) => `__import__("pyspark").SparkContext.getOrCreate().addPyFile(${uri})`,
  jar: (uri: string) =>
    `__import__("pyspark.sql").sql.SparkSession.builder.getOrCreate().sql("ADD JAR " + __import__("json").dumps(${uri}))`,
} as const;
type Resource = keyof typeof ADDING;
const RESOURCES: readonly Resource[] = ["file", "pyfile", "jar"];

/** What Livy offers to those who send it compiled code, and why it is not offered here. */
const UNSUPPORTED = [
  ["POST", "submit-job", "Serialised jobs of Livy's programmatic API cannot run here: send code as a statement."],
  ["POST", "run-job", "Serialised jobs of Livy's programmatic API cannot run here: send code as a statement."],
  ["GET", "jobs/:job", "Serialised jobs of Livy's programmatic API cannot run here: there are none."],
  ["POST", "jobs/:job/cancel", "Serialised jobs of Livy's programmatic API cannot run here: there are none."],
] as const;

/** Files and jars for a running session, and the routes of Livy's that are answered by a refusal. */
export const resourceRoutes = (app: App, room: Room): void => {
  for (const resource of RESOURCES) {
    app.post(
      `/sessions/:session/add-${resource}`,
      {
        schema: {
          ...{ tags, summary: `Give a running session a ${resource} by its URI`, params: SessionParams, body: AddResource },
          response: answers({ 200: Message }),
        },
      },
      async (request) => {
        const session = room.find(request, "modify");
        const { uploads } = room.options.paths;
        const uri = await checkUri(request.body.uri, room.options.paths, request.caller);
        audit(request, "submit", session);
        const sent = uploads === null ? null : await sendUpload(session, resource, uri, uploads, request.signal);
        // A JSON string is a Python literal too.
        await run(session, ADDING[resource](JSON.stringify(sent ?? uri)), clientOf(request.caller), request.signal);
        return { msg: "added" };
      },
    );
  }
  app.register((scope, _options, done) => {
    takeForms(scope, room.options.uploadLimitBytes);
    for (const resource of RESOURCES) uploadRoute(scope, room, resource);
    done();
  });
  for (const [method, path, reason] of UNSUPPORTED) {
    app.route({
      method,
      url: `/sessions/:session/${path}`,
      schema: { tags: ["not supported"], summary: reason, params: SessionParams, response: answers({}) },
      // Before the body is read: it may be a large file.
      preParsing: (request, _reply, _payload, done) => {
        const { session = "" } = request.params as { readonly session?: string };
        room.find({ caller: request.caller, params: { session } }, "view");
        done(new Problem("NOT_SUPPORTED", reason));
      },
      handler: () => undefined,
    });
  }
};

/** A form with one file, which goes to the driver piece by piece: nothing of it is kept here. */
const uploadRoute = (app: FastifyInstance, room: Room, resource: Resource): void => {
  app.post<{ Params: Static<typeof SessionParams> }>(
    `/sessions/:session/upload-${resource}`,
    {
      config: { form: true },
      schema: {
        ...{ tags, summary: `Send a running session a ${resource}`, params: SessionParams, response: answers({ 200: Message }) },
        description: "A form (multipart/form-data) with one file in it; the part's name does not matter.",
        consumes: ["multipart/form-data"],
      },
    },
    async (request, reply) => {
      try {
        const session = room.find(request, "modify");
        const left = leaving(reply);
        const { name, content, cut } = await readForm(request);
        audit(request, "submit", session);
        const path = await session.upload(nameFor(resource, name), content, left);
        if (cut()) throw new Problem("TOO_LARGE", `The file is larger than ${room.options.uploadLimitBytes} bytes, the limit here.`);
        await run(session, ADDING[resource](JSON.stringify(path)), clientOf(request.caller), left);
        return { msg: "uploaded" };
      } catch (error) {
        discard(request);
        throw error;
      }
    },
  );
};

/** PySpark knows a zip of packages by its name alone; a wheel is one. */
const nameFor = (resource: Resource, name: string): string =>
  name === "" ? resource : resource === "pyfile" && name.endsWith(".whl") ? `${name}.zip` : name;

/** Gives the driver the upload that a URI names, and answers where it has it; null for other URIs. */
const sendUpload = async (
  session: Session,
  resource: Resource,
  uri: string,
  uploads: Uploads,
  signal: AbortSignal,
): Promise<string | null> => {
  const named = readUploadUri(uri);
  if (named === null) return null;
  return session.upload(nameFor(resource, named.name), contentOf(named.id, uploads, signal), signal);
};

/** Opened when it is begun to be read: a session that takes nothing more would leave it open. */
async function* contentOf(id: string, uploads: Uploads, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield* (await uploads.open(id, 0, signal)).content;
}

/**
 * Runs silent code in the driver and waits for its end.
 * @throws Problem INVALID when it failed, DRIVER_UNREACHABLE when it took too long
 */
const run = async (session: Session, code: string, client: string, signal: AbortSignal): Promise<void> => {
  const origin = { face: "livy", client };
  const id = await session.submit({ key: uuidv7(), code, kind: "pyspark", origin, stopOnError: false, silent: true, stdin: false }, signal);
  await session.settled(id, ADD_MS, signal);
  const { state, outputs } = await session.statement(id, signal);
  if (!isFinalStatement(state))
    throw new Problem("DRIVER_UNREACHABLE", "The session is busy: adding it will be done when its statements have ended.");
  const error = outputs.find((output) => output.type === "error");
  if (error !== undefined) throw new Problem("INVALID", `It could not be added: ${error.ename}: ${error.evalue}`);
};
