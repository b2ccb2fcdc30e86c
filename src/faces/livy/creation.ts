import { Problem } from "../../core/problems.ts";

/** @throws Problem INVALID */
export const readDryRun = (text: string | undefined): boolean => {
  if (text === undefined || text === "false") return false;
  if (text === "true" || text === "") return true;
  throw new Problem("INVALID", "dryRun must be true or false.");
};

/** Livy's preface to a refusal of the launcher's. */
export const rejected = (error: unknown): never => {
  if (error instanceof Problem && error.code === "NAME_TAKEN")
    throw new Problem(error.code, `Rejected, Reason: ${error.message}`, { cause: error });
  throw error;
};
