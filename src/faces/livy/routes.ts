import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import { Problem } from "../../core/problems.ts";
import type { Face } from "../http.ts";
import { sparkUiRoutes } from "../spark-ui/routes.ts";
import { readInt32 } from "../validation.ts";
import { batchRoutes } from "./batch-routes.ts";
import { driverLineRoutes } from "./driver-line-routes.ts";
import { executorRoutes } from "./executor-routes.ts";
import { logRoutes } from "./log-routes.ts";
import { presetRoutes } from "./preset-routes.ts";
import { recordRoutes } from "./record-routes.ts";
import { resourceRoutes } from "./resource-routes.ts";
import { answers, type LivyOptions, Room } from "./room.ts";
import { scheduleRoutes } from "./schedule-routes.ts";
import { Version } from "./schemas.ts";
import { sessionRoutes } from "./session-routes.ts";
import { statementRoutes } from "./statement-routes.ts";
import { uploadRoutes } from "./upload-routes.ts";

/** The release whose interface this is; pylivy reads it before its first session and wants `number.number.number`. */
const LIVY_VERSION = "0.9.0-incubating";

/** Livy's REST interface (Apache Livy 0.9, interactive sessions and batches), as its clients know it. */
export const livyFace =
  (options: LivyOptions): Face =>
  (plain, closing) => {
    const app = plain.withTypeProvider<TypeBoxTypeProvider>();
    const room = new Room(options, closing);
    app.addHook("onRequest", (request, _reply, done) => {
      checkVersion(request.headers.accept);
      done();
    });
    // A session that another server has just made may not be known here yet.
    app.addHook("onRequest", async ({ params }) => {
      const { session, batch = session } = params as { readonly session?: string; readonly batch?: string };
      if (batch !== undefined && isSessionName(batch)) await options.sessions.seek(batch);
    });
    app.get("/version", { schema: { tags: ["service"], summary: "Versions", response: answers({ 200: Version }) } }, () => ({
      ...{ url: "", branch: "", revision: "", version: LIVY_VERSION, date: "", user: "" },
      longwick: options.version,
    }));
    sessionRoutes(app, room);
    presetRoutes(app, room);
    batchRoutes(app, room);
    scheduleRoutes(app, room);
    statementRoutes(app, room);
    recordRoutes(app, room);
    logRoutes(app, room);
    driverLineRoutes(app, room);
    executorRoutes(app, room);
    resourceRoutes(app, room);
    uploadRoutes(app, room);
    sparkUiRoutes(app, room);
  };

/** Whether there can be a session of this id or name. */
const isSessionName = (text: string): boolean => !/^-?\d+$/.test(text) || (readInt32(text) ?? -1) >= 0;

/** A client may ask for a version of the interface as a media type; there is one. */
const checkVersion = (accept: string | undefined): void => {
  const asked = accept === undefined ? null : /application\/vnd\.livy\.v(\d+(?:\.\d+)*)\+json/.exec(accept);
  if (asked !== null && asked[1] !== "0.1") throw new Problem("NOT_ACCEPTABLE", `No value found for '${asked[1]?.slice(0, 20)}'`);
};
