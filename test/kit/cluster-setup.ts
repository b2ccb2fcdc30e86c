import { prepareNamespace, testApi } from "./cluster.ts";

/** Without a cluster these tests say nothing: then they fail. */
export const setup = async (): Promise<void> => {
  if (!process.env["KUBECONFIG"]) throw new Error("KUBECONFIG names no cluster to test against");
  const api = testApi();
  await prepareNamespace(api).finally(() => api.close());
};
