import type { Preset } from "../../core/presets.ts";
import type { Application, SessionSpec } from "../../core/spec.ts";
import { END_CAUSES, type EndCause } from "../../core/states.ts";
import { CreateBatch } from "./schemas.ts";
import { checkWhole, readSpec, readTime, refuse, type SpecRules, shown, unknownFields } from "./spec.ts";

export interface BatchRequest {
  readonly body: CreateBatch;
  /** The query's `doAs`; goes before the body's proxyUser. */
  readonly doAs: string | undefined;
  readonly preset: Preset | null;
}

/** An attempt's log is kept in the claim: there is room for so many. */
const ATTEMPT_LIMIT = 20;
const BACKOFF_SECONDS = 10;
const ARGUMENT_LIMIT = 64 * 1024;
/** Where clients that can set nothing but conf say when a batch is to be tried again. */
const RETRY_KEYS = {
  maxAttempts: "spark.longwick.retry.maxAttempts",
  backoffSeconds: "spark.longwick.retry.backoffSeconds",
  on: "spark.longwick.retry.on",
} as const;

/**
 * What was asked for, checked, in one spelling; and what its reader should be told in the batch's log.
 * @throws Problem INVALID, SPEC_REFUSED
 */
export const readBatchSpec = ({ body, doAs, preset }: BatchRequest, rules: SpecRules): { spec: SessionSpec; notes: string[] } => {
  const { file, className, args, retry, ttl, preset: _name, ...shared } = body;
  if (file == null || file.trim() === "") throw refuse("requirement failed: File is required.");
  const own = new Set<string>(Object.values(RETRY_KEYS));
  const conf = Object.fromEntries(Object.entries(shared.conf ?? {}).filter(([key]) => !own.has(key)));
  const { spec, notes } = readSpec({ body: { ...known(shared), conf, kind: "shared" }, doAs, preset }, rules);
  const application: Application = {
    file: file.trim(),
    className: readClassName(className),
    args: (args ?? []).map(readArgument),
    retry: readRetry(retry, shared.conf ?? {}),
  };
  return {
    spec: checkWhole({
      ...{ ...spec, application },
      // It ends by itself: only who asks for it sets it a time.
      ...{ ttl: ttl == null ? null : String(ttl), ttlMs: ttl == null ? 0 : readTime(ttl) },
      ...{ idleTimeout: null, idleTimeoutMs: 0, heartbeatTimeoutMs: 0 },
    }),
    notes: [...unknownFields(body, CreateBatch), ...notes],
  };
};

/** Without the fields that mean something to a session alone. */
const known = (fields: object): object =>
  Object.fromEntries(Object.entries(fields).filter(([field]) => Object.hasOwn(CreateBatch.properties, field)));

const readClassName = (className: string | null | undefined): string | null => {
  if (className == null || className === "") return null;
  if (!/^[\p{L}\p{Nl}_$][\p{L}\p{N}_$.]{0,511}$/u.test(className)) throw refuse(`Invalid className: ${shown(className)}`);
  return className;
};

const readArgument = (argument: string | number | boolean): string => {
  const text = String(argument);
  if (text.includes("\0") || text.length > ARGUMENT_LIMIT) throw refuse("An argument holds a NUL character or is too long.");
  return text;
};

const readRetry = (retry: CreateBatch["retry"], conf: NonNullable<CreateBatch["conf"]>): Application["retry"] => {
  const said = (field: keyof typeof RETRY_KEYS) => conf[RETRY_KEYS[field]] ?? null;
  const maxAttempts = readCount("retry.maxAttempts", retry?.maxAttempts ?? said("maxAttempts") ?? 1);
  const backoffSeconds = readCount("retry.backoffSeconds", retry?.backoffSeconds ?? said("backoffSeconds") ?? BACKOFF_SECONDS);
  if (maxAttempts < 1 || maxAttempts > ATTEMPT_LIMIT) throw refuse(`retry.maxAttempts must be from 1 to ${ATTEMPT_LIMIT}`);
  const listed = retry?.on ?? (said("on") === null ? END_CAUSES : String(said("on")).split(","));
  return { maxAttempts, backoffMs: backoffSeconds * 1_000, on: [...new Set(listed.map((word) => readCause(word.trim())))] };
};

const readCount = (field: string, value: string | number | boolean): number => {
  const text = String(value).trim();
  if (!/^\d{1,9}$/.test(text)) throw refuse(`${field} must be a whole number, not ${shown(text)}`);
  return Number(text);
};

const readCause = (word: string): EndCause => {
  const cause = END_CAUSES.find((known) => known === word);
  if (cause === undefined) throw refuse(`retry.on knows ${END_CAUSES.join(", ")}, not ${shown(word)}`);
  return cause;
};
