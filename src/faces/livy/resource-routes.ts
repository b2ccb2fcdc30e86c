import { v7 as uuidv7 } from "uuid";
import { Problem } from "../../core/problems.ts";
import type { Session } from "../../core/session.ts";
import { isFinalStatement } from "../../core/states.ts";
import { checkUri } from "./paths.ts";
import { type App, answers, audit, clientOf, type Room } from "./room.ts";
import { AddResource, Message, SessionParams } from "./schemas.ts";

const tags = ["sessions"];
/** How long adding may take, code that runs before it included. */
const ADD_MS = 60_000;

/** How each is done in the driver; the URI comes as a Python literal. */
const ADDING = {
  "add-file": (uri: string) => `spark.sparkContext.addFile(${uri})`,
  "add-pyfile": (uri: string) => `spark.sparkContext.addPyFile(${uri})`,
  "add-jar": (uri: string) => `spark.sql("ADD JAR " + __import__("json").dumps(${uri}))`,
} as const;

/** What Livy offers to those who send it compiled code, and why it is not offered here. */
const UNSUPPORTED = [
  ["POST", "upload-file", "Files cannot be uploaded here: put them where the driver can read them and use add-file."],
  ["POST", "upload-pyfile", "Files cannot be uploaded here: put them where the driver can read them and use add-pyfile."],
  ["POST", "upload-jar", "Files cannot be uploaded here: put them where the driver can read them and use add-jar."],
  ["POST", "submit-job", "Serialised jobs of Livy's programmatic API cannot run here: send code as a statement."],
  ["POST", "run-job", "Serialised jobs of Livy's programmatic API cannot run here: send code as a statement."],
  ["GET", "jobs/:job", "Serialised jobs of Livy's programmatic API cannot run here: there are none."],
  ["POST", "jobs/:job/cancel", "Serialised jobs of Livy's programmatic API cannot run here: there are none."],
] as const;

/** Files and jars for a running session, and the routes of Livy's that are answered by a refusal. */
export const resourceRoutes = (app: App, room: Room): void => {
  for (const [path, adding] of Object.entries(ADDING)) {
    app.post(
      `/sessions/:session/${path}`,
      {
        schema: {
          ...{ tags, summary: `Give a running session a ${path.slice("add-".length)}`, params: SessionParams, body: AddResource },
          response: answers({ 200: Message }),
        },
      },
      async (request) => {
        const session = room.find(request, "modify");
        const uri = await checkUri(request.body.uri, room.options.paths);
        audit(request, "submit", session);
        // A JSON string is a Python literal too.
        await run(session, adding(JSON.stringify(uri)), clientOf(request.caller), request.signal);
        return { msg: "added" };
      },
    );
  }
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
