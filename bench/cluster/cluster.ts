import type { Bench } from "../measures.ts";
import type { Row } from "../report.ts";
import { apiRequests } from "./api-requests.ts";
import { coldStart } from "./cold-start.ts";
import { crowd } from "./crowd.ts";
import { BenchNamespace } from "./namespace.ts";

export const hasCluster = (): boolean => Boolean(process.env["KUBECONFIG"]);

/** What a cluster is needed for: a driver's cold start, an idle server with a thousand sessions, what sessions ask of the API server. */
export const cluster = async ({ rounds }: Bench): Promise<readonly Row[]> => {
  await using _namespace = await BenchNamespace.make();
  return [...(await coldStart(Math.max(2, Math.round(rounds / 4)))), ...(await crowd(rounds)), ...(await apiRequests())];
};
