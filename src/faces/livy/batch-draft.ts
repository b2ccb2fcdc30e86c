import { Check } from "typebox/value";
import type { Caller } from "../../core/access.ts";
import type { SessionDraft } from "../../core/ports.ts";
import type { Presets } from "../../core/presets.ts";
import { Problem } from "../../core/problems.ts";
import type { BatchRequest } from "../../core/schedule.ts";
import { readBatchSpec } from "./batch-spec.ts";
import { checkUris, type PathRules } from "./paths.ts";
import { CreateBatch } from "./schemas.ts";
import { readPresetName, type SpecRules } from "./spec.ts";

/** By what a batch's request is judged. */
export interface BatchRules {
  readonly presets: Presets;
  readonly spec: SpecRules;
  readonly paths: PathRules;
}

/**
 * The batch that a caller asks for.
 * @throws Problem INVALID, SPEC_REFUSED, FORBIDDEN, UPLOAD_NOT_FOUND
 */
export const readBatchDraft = async (
  { body, doAs }: { readonly body: CreateBatch; readonly doAs: string | undefined },
  caller: Caller,
  { presets, spec: rules, paths }: BatchRules,
): Promise<SessionDraft> => {
  const preset = presets.choose(readPresetName(body), caller);
  const { spec: asked, notes } = readBatchSpec({ body, doAs, preset }, rules);
  return { owner: caller.name, spec: await checkUris(asked, paths, caller), notes };
};

/** The same for a request that was kept. */
export const readKeptRequest = (request: BatchRequest, caller: Caller, rules: BatchRules): Promise<SessionDraft> => {
  if (!Check(CreateBatch, request)) throw new Problem("INVALID", "What was kept of the batch's request is no such request.");
  return readBatchDraft({ body: request, doAs: undefined }, caller, rules);
};
