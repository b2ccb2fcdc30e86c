import type { ClaimDraft } from "../core/ports.ts";

/** A fresh id. A batch never gets 0: Airflow's operator, which keeps the id for its next try, takes 0 for none and submits once more. */
export const idFor = async ({ spec }: Pick<ClaimDraft, "spec">, take: () => Promise<number>): Promise<number> => {
  const id = await take();
  return id === 0 && spec.application !== undefined ? take() : id;
};
