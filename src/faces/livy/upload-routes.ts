import type { FastifyReply, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import { type AuditEvent, publishAudit } from "../../core/events.ts";
import { Problem } from "../../core/problems.ts";
import { type Upload, type Uploads, uriOf } from "../../core/uploads.ts";
import { discard, leaving, readForm, takeForms } from "./form.ts";
import { type App, answers, type Room } from "./room.ts";
import { Message } from "./schemas.ts";

const tags = ["uploads"];
/** What a form has around its file. */
const FORM_BYTES = 64 * 1024;

const text = Type.Union([Type.String(), Type.Null()]);
const UploadParams = Type.Object({ upload: Type.String({ description: "An upload's id." }) });
const TakeQuery = Type.Object({
  doAs: Type.Optional(Type.String({ description: "Who may use it besides you; for those who may impersonate." })),
});
const UploadObject = Type.Object({
  id: Type.String(),
  uri: Type.String({ description: "Names it in `jars`, `pyFiles`, `files`, `archives` of sessions and batches." }),
  name: Type.String(),
  size: Type.Integer({ description: "Bytes." }),
  sha256: Type.String({ description: "In hex." }),
  owner: text,
  proxyUser: text,
  createdMs: Type.Integer({ description: "Unix time in milliseconds." }),
  usedMs: Type.Integer({ description: "When a session or batch was last made with it; at first when it was sent." }),
});
const UploadList = Type.Object({ total: Type.Integer(), uploads: Type.Array(UploadObject) });

/** What Livy has not: files that users send once and name in their sessions and batches. */
export const uploadRoutes = (app: App, room: Room): void => {
  const { uploadLimitBytes: limitBytes, paths } = room.options;
  const store = (): Uploads => {
    if (paths.uploads !== null) return paths.uploads;
    throw new Problem("NOT_SUPPORTED", "Files cannot be uploaded here: the operator has set neither uploadDir nor uploadBucket.");
  };

  const take = async (request: FastifyRequest<{ Querystring: Static<typeof TakeQuery> }>, reply: FastifyReply): Promise<Upload> => {
    const { caller, query, headers } = request;
    const uploads = store();
    if (Number(headers["content-length"] ?? 0) > limitBytes + FORM_BYTES)
      throw new Problem("TOO_LARGE", `The file is larger than ${limitBytes} bytes, the limit here.`);
    const left = leaving(reply);
    const { name, content } = await readForm(request);
    return uploads.take({ name, proxyUser: query.doAs || null }, caller, content, left);
  };

  app.register((scope, _options, done) => {
    // One byte more, so that a file at the limit and a larger one can be told apart.
    takeForms(scope, limitBytes + 1);
    scope.post<{ Querystring: Static<typeof TakeQuery> }>(
      "/uploads",
      {
        config: { form: true },
        schema: {
          ...{ tags, summary: "Send a file for sessions and batches", querystring: TakeQuery, response: answers({ 201: UploadObject }) },
          description: "A form (multipart/form-data) with one file in it; the part's name does not matter, the file's name does.",
          consumes: ["multipart/form-data"],
        },
      },
      async (request, reply) => {
        try {
          const upload = await take(request, reply);
          audit(request, "upload", upload);
          return reply.code(201).header("location", `${request.mount}/uploads/${upload.id}`).send(uploadObject(upload));
        } catch (error) {
          discard(request);
          throw error;
        }
      },
    );
    done();
  });

  app.get(
    "/uploads",
    { schema: { tags, summary: "List the uploads you may see", response: answers({ 200: UploadList }) } },
    async ({ caller, signal }) => {
      const uploads = (await store().list(caller, signal)).map(uploadObject);
      return { total: uploads.length, uploads };
    },
  );

  app.get(
    "/uploads/:upload",
    { schema: { tags, summary: "One upload", params: UploadParams, response: answers({ 200: UploadObject }) } },
    async ({ caller, params, signal }) => uploadObject(await store().find(params.upload, caller, "view", signal)),
  );

  app.delete(
    "/uploads/:upload",
    {
      schema: {
        ...{ tags, summary: "Remove an upload", params: UploadParams, response: answers({ 200: Message }) },
        description: "Not while a session or batch that has not ended names it (409).",
      },
    },
    async (request) => {
      const upload = await store().find(request.params.upload, request.caller, "modify", request.signal);
      await store().delete(upload, AbortSignal.timeout(DELETE_MS));
      audit(request, "delete-upload", upload);
      return { msg: "deleted" };
    },
  );
};
/** Begun, it is carried through though the caller leaves. */
const DELETE_MS = 30_000;

const uploadObject = (upload: Upload): Static<typeof UploadObject> => {
  const { id, name, bytes: size, sha256, owner, proxyUser, createdMs, usedMs } = upload;
  return { id, uri: uriOf(upload), name, size, sha256, owner, proxyUser, createdMs, usedMs };
};

const audit = ({ caller }: FastifyRequest, action: AuditEvent["action"], { id, proxyUser }: Upload): void =>
  publishAudit({ action, user: caller.name, remote: caller.remote, proxyUser, session: null, statement: null, upload: id, problem: null });
