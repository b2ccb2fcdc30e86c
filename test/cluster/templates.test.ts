import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server as HttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1Pod } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { removeInstance } from "../../src/launch/kubernetes/cluster.ts";
import { IMAGE, NAMESPACE, soon } from "../kit/cluster.ts";
import { Livy } from "../kit/livy.ts";
import { type Server, startServer } from "../kit/server.ts";

const INSTANCE = `t${crypto.randomUUID().slice(0, 8)}`;
const DRIVER = "metadata:\n  annotations: {from: https}\nspec:\n  tolerations: [{key: dedicated, operator: Exists}]\n";
const EXECUTOR = "metadata:\n  labels: {tier: executors}\n";

/** The server as its command line starts it, which trusts one more authority; nothing is started by it. */
describe("pod templates by https", { timeout: 60_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), "longwick-templates-"));
  const seen: string[] = [];
  let files: HttpsServer;
  let base: string;
  let server: Server;
  let livy: Livy;

  beforeAll(async () => {
    const [cert, key] = [join(directory, "cert.pem"), join(directory, "key.pem")];
    const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"];
    execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", ...names, "-keyout", key, "-out", cert], { stdio: "pipe" });
    files = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, ({ url = "" }, answer) => {
      seen.push(url);
      if (url === "/moved.yaml") answer.writeHead(302, { location: "/driver.yaml" }).end();
      else if (url === "/driver.yaml") answer.end(DRIVER);
      else if (url === "/executor.yaml") answer.end(EXECUTOR);
      else if (url === "/large.yaml") answer.end("#".repeat(1024 * 1024));
      else answer.writeHead(404).end();
    });
    files.listen(0, "127.0.0.1");
    await once(files, "listening");
    base = `https://127.0.0.1:${(files.address() as AddressInfo).port}`;
    server = await startServer({
      python: "python3",
      env: { NODE_EXTRA_CA_CERTS: cert },
      flags: [
        ...["--launcher", "kubernetes", "--kubernetes-image", IMAGE, "--kubernetes-instance", INSTANCE],
        ...["--kubernetes-namespace", NAMESPACE, "--kubernetes-server-namespace", NAMESPACE],
        ...["--kubernetes-allow", `podTemplate=${base}/*.yaml`],
      ],
    });
    livy = new Livy(server.url);
  });
  afterAll(async () => {
    livy?.close();
    await server?.[Symbol.asyncDispose]();
    files?.close();
    rmSync(directory, { recursive: true });
    await removeInstance({ kubeconfig: null, context: null, serverNamespace: NAMESPACE, instance: INSTANCE }, soon());
  });

  const planned = (templates: Record<string, string>) =>
    livy.ask("POST", "/sessions?dryRun=true", {
      conf: Object.fromEntries(Object.entries(templates).map(([role, uri]) => [`spark.kubernetes.${role}.podTemplateFile`, uri])),
    });
  const refusal = async (templates: Record<string, string>): Promise<string> => {
    const { status, body } = await planned(templates);
    expect(status).toBe(400);
    return JSON.stringify(body);
  };

  test("are laid over the operator's, for drivers and executors", async () => {
    const { status, body } = await planned({ driver: `${base}/driver.yaml`, executor: `${base}/executor.yaml` });
    expect(status).toBe(200);
    const { workload } = body as { workload: { pod: V1Pod; executorTemplate: V1Pod } };
    expect(workload.pod.metadata?.annotations).toMatchObject({ from: "https" });
    expect(workload.pod.spec?.tolerations).toEqual([{ key: "dedicated", operator: "Exists" }]);
    expect(workload.executorTemplate.metadata?.labels).toMatchObject({ tier: "executors" });
  });

  test("that cannot be had are refused with the reason; what is not allowed is not even asked for", async () => {
    expect(await refusal({ driver: `${base}/none.yaml` })).toMatch(/driver\.podTemplateFile: .*\/none\.yaml answers 404/);
    expect(await refusal({ executor: `${base}/moved.yaml` })).toMatch(
      /executor\.podTemplateFile: .*\/moved\.yaml redirects to another address/,
    );
    expect(await refusal({ driver: `${base.replace("127.0.0.1", "localhost")}/driver.yaml` })).toMatch(/not allowed/);
    expect(await refusal({ driver: `${base}/large.yaml` })).toMatch(/is larger than 262144 bytes/);
    seen.length = 0;
    expect(await refusal({ driver: `${base}/driver.txt` })).toMatch(/not allowed by any rule 'podTemplate'/);
    expect(await refusal({ driver: "/etc/passwd" })).toMatch(/not allowed by any rule 'podTemplate'/);
    expect(seen).toEqual([]);
  });
});
