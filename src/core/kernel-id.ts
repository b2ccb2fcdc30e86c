import { v5 as uuidv5 } from "uuid";
import type { Claim } from "./ports.ts";

/** Kernel ids are made of claims' uids in this name space, so that every server calls a session's kernel the same. */
const NAMESPACE = "8f9a4a5e-6b0c-5d0e-9a53-3f1d7c1f2b64";

/** The id of a session's Jupyter kernel: every session has one, whether or not it was started as a kernel. */
export const kernelIdOf = ({ uid, spec }: Pick<Claim, "uid" | "spec">): string => spec.kernel?.id ?? uuidv5(uid, NAMESPACE);
