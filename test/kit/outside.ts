import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DRIVER_IMAGE } from "./cluster.ts";
import type { Deployment } from "./deployment.ts";
import { kubectl } from "./kubectl.ts";
import { type Server, startServer } from "./server.ts";

/** The rights that a server outside needs besides those of one inside: it reaches drivers through the API server. */
const PORT_FORWARD = ["--verb=get,create", "--resource=pods/portforward"];

/** The administrator's kubeconfig with the account of the server's pods in place of the administrator. */
const kubeconfigOf = async (deployment: Deployment): Promise<string> => {
  const config = JSON.parse(await kubectl(["config", "view", "--raw", "--minify", "--flatten", "--output=json"])) as {
    contexts: { name: string; context: { cluster: string; user: string; namespace?: string } }[];
    users: { name: string; user: object }[];
  };
  const token = (await deployment.kubectl("create", "token", "longwick", "--duration=1h")).trim();
  const [context] = config.contexts;
  if (context === undefined) throw new Error("the kubeconfig has no current context");
  context.context = { ...context.context, user: "longwick", namespace: deployment.namespace };
  return JSON.stringify({ ...config, users: [{ name: "longwick", user: { token } }] });
};

/**
 * A server that is a process of this machine, over the namespaces of a deployment without servers of its own: with the rights of one
 * inside, and port-forward.
 */
export const startOutside = async (deployment: Deployment, flags: readonly string[] = []): Promise<Server> => {
  await deployment.sessionsKubectl("create", "role", "longwick-outside", ...PORT_FORWARD);
  await deployment.sessionsKubectl(
    "create",
    "rolebinding",
    "longwick-outside",
    "--role=longwick-outside",
    `--serviceaccount=${deployment.namespace}:longwick`,
  );
  const directory = mkdtempSync(join(tmpdir(), "longwick-outside-"));
  const kubeconfig = join(directory, "kubeconfig");
  writeFileSync(kubeconfig, await kubeconfigOf(deployment), { mode: 0o600 });
  const server = await startServer({
    // Pods bring their own.
    python: "python3",
    flags: [
      ...["--launcher", "kubernetes", "--kubeconfig", kubeconfig, "--kubernetes-reach", "port-forward"],
      ...["--kubernetes-namespace", deployment.sessionsNamespace, "--kubernetes-image", DRIVER_IMAGE],
      ...["--kubernetes-image-pull-policy", "IfNotPresent"],
      ...Object.entries(deployment.sparkConf).flatMap(([key, value]) => ["--spark-conf", `${key}=${value}`]),
      ...flags,
    ],
  });
  const dispose = server[Symbol.asyncDispose].bind(server);
  server[Symbol.asyncDispose] = async () => {
    await dispose().finally(() => rmSync(directory, { recursive: true, force: true }));
  };
  return server;
};
