import multipart from "@fastify/multipart";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Problem } from "../../core/problems.ts";

/** The one file of a form, read as it comes. */
export interface FormFile {
  /** As the client calls it, without directories; may be empty. */
  readonly name: string;
  /** @throws Problem INVALID when the form breaks off */
  readonly content: AsyncIterable<Uint8Array>;
  /** Whether the content ended at the limit. */
  readonly cut: () => boolean;
}

/** Has the routes of a scope read forms; what a file holds past the limit is not read. */
export const takeForms = (scope: FastifyInstance, fileLimitBytes: number): void => {
  scope.register(multipart, { limits: { files: 1, parts: 16, fileSize: fileLimitBytes }, throwFileSizeLimit: false });
};

/** @throws Problem INVALID when the request holds no form, or a form without a file */
export const readForm = async (request: FastifyRequest): Promise<FormFile> => {
  const part = request.isMultipart() ? await request.file().catch(malformed) : undefined;
  if (part === undefined)
    throw new Problem("INVALID", "No file sent! Send a form (multipart/form-data) with one file in it: curl -F file=@NAME.");
  const { file, filename = "" } = part;
  return { name: filename, content: whole(file), cut: () => file.truncated };
};

/** Aborts when the caller leaves: a request's own signal takes the end of a body that is read as a stream for that. */
export const leaving = (reply: FastifyReply): AbortSignal => {
  const left = new AbortController();
  reply.raw.once("close", () => left.abort());
  return left.signal;
};

/**
 * What is left of a body that is refused is read and thrown away for a while: many clients look at the answer only when they have sent
 * all, and would see nothing but a broken connection if it were closed before.
 */
export const discard = ({ raw }: FastifyRequest): void => {
  if (raw.readableEnded || raw.destroyed) return;
  const cut = setTimeout(() => raw.socket.destroy(), DISCARD_MS).unref();
  raw.once("close", () => clearTimeout(cut));
  raw.unpipe();
  raw.resume();
};
const DISCARD_MS = 30_000;

const malformed = (error: unknown): never => {
  throw new Problem("INVALID", `The form cannot be read: ${error instanceof Error ? error.message : String(error)}.`, { cause: error });
};

/** A form that breaks off ends its file with an error. */
async function* whole(file: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  try {
    yield* file;
  } catch (error) {
    malformed(error);
  }
}
