import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { KubeConfig } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IMAGE, inNamespace, NAMESPACE, SERVICE_ACCOUNT, soon, testApi } from "../kit/cluster.ts";

const CLI = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));

/** What `longwick doctor` says, whether it finds something bad or not. */
const doctor = async (...flags: readonly string[]): Promise<string> => {
  const args = [CLI, "doctor", "--launcher", "kubernetes", "--port", "0", "--kubernetes-namespace", NAMESPACE, ...flags];
  const said = await promisify(execFile)(process.execPath, args).catch((error: { stdout?: string }) => error);
  return said.stdout ?? "";
};

describe("longwick doctor, asked about a cluster,", { timeout: 60_000 }, () => {
  let directory: string;
  /** Of an account that may do what every account may. */
  let poor: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "longwick-doctor-"));
    poor = join(directory, "kubeconfig");
    const api = testApi();
    interface Token {
      readonly status: { readonly token: string };
    }
    const { status } = await api.create<Token>(`${inNamespace("serviceaccounts", "default")}/token`, { spec: {} }, soon());
    api.close();
    const own = new KubeConfig();
    own.loadFromDefault();
    const cluster = own.getCurrentCluster();
    if (cluster === null) throw new Error("the kubeconfig has no current cluster");
    const config = new KubeConfig();
    config.loadFromClusterAndUser(cluster, { name: "poor", token: status.token });
    await writeFile(poor, config.exportConfig(), { mode: 0o600 });
  });
  afterAll(() => rm(directory, { recursive: true }));

  test("says that all is well where it is", async () => {
    const said = await doctor("--kubernetes-image", IMAGE, "--kubernetes-server-namespace", NAMESPACE);
    expect(said).toMatch(/^ok {4}Kubernetes v1\.\d+.* at https:\/\//m);
    expect(said).toContain(`ok    the server may do all that it needs in namespace ${NAMESPACE}`);
    expect(said).toContain(`ok    drivers, as service account ${NAMESPACE}/${SERVICE_ACCOUNT}, may make executors`);
    expect(said).toContain(`ok    a driver's pod with image ${IMAGE} would be admitted to namespace ${NAMESPACE}`);
    expect(said).not.toContain("BAD");
  });

  test("names the image that is not set, the account that is missing, and the rights that drivers lack", async () => {
    expect(await doctor()).toMatch(/BAD {3}no driver can be made\n.*--launcher kubernetes needs --kubernetes-image/);
    const said = await doctor("--kubernetes-image", IMAGE, "--kubernetes-service-account", "nobody-made-it");
    expect(said).toMatch(
      /BAD {3}drivers, as service account longwick-test\/nobody-made-it, may not create\/get\/list.* pods in longwick-test/,
    );
    expect(said).toMatch(/BAD {3}no driver can be made: .*serviceaccount "nobody-made-it" not found/);
  });

  test("names each right that the server lacks", async () => {
    const said = await doctor("--kubernetes-image", IMAGE, "--kubernetes-server-namespace", NAMESPACE, "--kubeconfig", poor);
    expect(said).toMatch(
      /BAD {3}the server may not create\/get\/list\/watch\/patch\/delete configmaps in longwick-test, .* get\/create pods\/portforward/,
    );
    expect(said).toMatch(/→ .*Role/);
    expect(said).toMatch(/there can be no schedules: the server may not create\/get\/list\/watch\/patch\/delete cronjobs in longwick-test/);
    expect(said).not.toContain("drivers, as service account");
  });

  test("is named by a server that lacks a right, in words without a stack", async () => {
    const flags = ["--launcher", "kubernetes", "--port", "0", "--kubernetes-image", IMAGE, "--kubernetes-namespace", NAMESPACE];
    const started = promisify(execFile)(process.execPath, [CLI, ...flags, "--kubeconfig", poor], { timeout: 50_000 });
    const { code, stderr } = await started.then(
      () => Promise.reject(new Error("it started")),
      (error: { code?: number; stderr?: string }) => error,
    );
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(
        /^longwick: .*forbidden: User "system:serviceaccount:longwick-test:default" cannot .*\nlongwick: `longwick doctor`.*\n$/,
      ),
    ]);
  });

  test("names the API server that does not answer", async () => {
    const nowhere = join(directory, "nowhere");
    const config = new KubeConfig();
    config.loadFromClusterAndUser({ name: "nowhere", server: "https://127.0.0.1:1", skipTLSVerify: false }, { name: "nobody" });
    await writeFile(nowhere, config.exportConfig());
    const said = await doctor("--kubernetes-image", IMAGE, "--kubeconfig", nowhere);
    expect(said).toMatch(/BAD {3}the API server at https:\/\/127\.0\.0\.1:1 cannot be asked, by context loaded-context: .*ECONNREFUSED/);
    expect(said).toMatch(/→ .*kubectl/);
  });
});
