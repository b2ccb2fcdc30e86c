import { Problem } from "../core/problems.ts";

/** What a store answers when it has no room. */
export const full = (cause: unknown, why = "its disk is full"): Problem =>
  new Problem("STORAGE_FULL", `The upload cannot be kept, the store has no room for it: ${why}. Ask the operator.`, { cause });

export const unreachable = (cause: unknown, why: string): Problem =>
  new Problem("STORAGE_UNREACHABLE", `The store of uploads cannot be used now: ${why}.`, { cause });
