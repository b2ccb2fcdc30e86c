import { openAsBlob } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { isLoopback } from "./config.ts";
import { ask, messageOf, parsed, RunError, send } from "./rest.ts";
import { type BatchBody, SubmitUsageError } from "./submission.ts";
import type { Target } from "./target.ts";

export interface Shipped {
  readonly body: BatchBody;
  /** Ids of what was uploaded. */
  readonly uploads: readonly string[];
}

const DELETE_MS = 10_000;
/** Fields with lists of files. */
const LISTS = ["jars", "pyFiles", "files", "archives"] as const;

/**
 * The body as the server can use it. A path without a scheme is one of this machine: named as it is when the server's drivers are
 * processes here and may read it, else uploaded.
 * @throws RunError, UnreachableError, SubmitUsageError (there is no such file)
 */
export const shipFiles = async (target: Target, body: BatchBody, signal: AbortSignal): Promise<Shipped> => {
  const paths = [...new Set(urisIn(body).flatMap((uri) => localPath(uri)?.path ?? []))];
  if (paths.length === 0) return { body, uploads: [] };
  for (const path of paths) await checkFile(path);
  const here = renamed(body, new Map(paths.map((path) => [path, pathToFileURL(path).href])));
  const refusal = await refusalOf(target, here, signal);
  if (refusal === null) return { body: here, uploads: [] };
  const uris = new Map<string, string>();
  const uploads: string[] = [];
  try {
    for (const path of paths) {
      const { id, uri } = await upload(target, path, refusal, signal);
      uploads.push(id);
      uris.set(path, uri);
    }
  } catch (error) {
    await deleteUploads(target, uploads);
    throw error;
  }
  return { body: renamed(body, uris), uploads };
};

/** Removes what a batch that has ended, or was never made, is not there for any more. What cannot be removed is left to the server's retention. */
export const deleteUploads = async (target: Target, uploads: readonly string[]): Promise<void> => {
  await Promise.all(
    uploads.map((id) => ask(target, "DELETE", `/uploads/${id}`, { signal: AbortSignal.timeout(DELETE_MS) }).catch(() => undefined)),
  );
};

/** Why the server's drivers cannot read what the body names; null: they can. */
const refusalOf = async (target: Target, body: BatchBody, signal: AbortSignal): Promise<string | null> => {
  if (!isLoopback(new URL(target.url).hostname)) return "the server is another machine's";
  const answer = await send(target, "POST", "/batches?dryRun=true", { body, signal });
  if (!answer.ok) return await messageOf(answer);
  const { workload } = await parsed<{ workload: object }>(answer);
  return "command" in workload ? null : "its drivers are pods";
};

const upload = async (target: Target, path: string, refusal: string, signal: AbortSignal): Promise<{ id: string; uri: string }> => {
  const form = new FormData();
  form.append("file", await openAsBlob(path), basename(path));
  const answer = await send(target, "POST", "/uploads", { body: form, signal });
  if (answer.status === 201) return parsed(answer);
  const message = await messageOf(answer);
  throw new RunError(`${path} cannot be sent: ${message}${answer.status === 501 ? `\nNor can it be read where it is: ${refusal}` : ""}`);
};

const checkFile = async (path: string): Promise<void> => {
  const found = await stat(path).catch(() => null);
  if (found?.isFile() === true) return;
  throw new SubmitUsageError(`There is no file ${path}. One of the server's machine is file:///…, one of its drivers' image local:///….`);
};

const urisIn = (body: BatchBody): readonly string[] => [body.file, ...LISTS.flatMap((field) => listOf(body, field))];

// The flags of lists make arrays of text.
const listOf = (body: BatchBody, field: (typeof LISTS)[number]): readonly string[] => (body[field] ?? []) as readonly string[];

/** The body with another name for each path of this machine. */
const renamed = (body: BatchBody, names: ReadonlyMap<string, string>): BatchBody => {
  const rename = (uri: string): string => {
    const local = localPath(uri);
    return local === null ? uri : `${names.get(local.path) ?? local.path}${local.fragment}`;
  };
  const lists = LISTS.filter((field) => body[field] !== undefined).map((field) => [field, listOf(body, field).map(rename)]);
  return { ...body, file: rename(body.file), ...Object.fromEntries(lists) };
};

/** A file of this machine and the `#alias` behind it; null for a URI. */
const localPath = (uri: string): { path: string; fragment: string } | null => {
  if (/^[a-z][a-z0-9+.-]+:/i.test(uri)) return null;
  const at = uri.indexOf("#");
  return at === -1 ? { path: resolve(uri), fragment: "" } : { path: resolve(uri.slice(0, at)), fragment: uri.slice(at) };
};
