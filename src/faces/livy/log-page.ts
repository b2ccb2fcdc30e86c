import type { Static } from "typebox";
import type { Life } from "../../core/life.ts";
import type { PageQuery, SessionLog } from "./schemas.ts";

const PAGE = 100;

/** A page of a log as Livy cuts it: the last lines, or those from a position on; a negative size is all. */
export const logPage = async (life: Life, query: Static<typeof PageQuery>, signal: AbortSignal): Promise<Static<typeof SessionLog>> => {
  const { from: asked = -1, size = PAGE } = query;
  const total = life.logTotal;
  const lines = size < 0 ? total : size;
  const from = asked < 0 ? Math.max(0, total - lines) : asked;
  return { id: life.id, from, total, log: [...(await life.log(from, lines, signal))] };
};
