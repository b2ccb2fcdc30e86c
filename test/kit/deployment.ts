import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { DRIVER_IMAGE, SERVER_IMAGE } from "./cluster.ts";
import { forward, kubectl } from "./kubectl.ts";

const MANIFESTS = fileURLToPath(new URL("../../docker/kubernetes", import.meta.url));

export interface DeploymentOptions {
  readonly replicas?: number;
  /** Lines of the server's longwick.toml besides those that every test's has. */
  readonly config?: string;
  /** What drivers and executors run on. */
  readonly driverImage?: string;
}

/** Small drivers: a test's node may have no more than two cores. */
const SPARK_CONF: Readonly<Record<string, string>> = {
  "spark.kubernetes.driver.request.cores": "100m",
  "spark.kubernetes.executor.request.cores": "100m",
  "spark.executor.instances": "1",
  "spark.executor.memory": "600m",
};

/**
 * The server in the cluster as docker/kubernetes deploys it, in two namespaces of its own. Disposing it removes both.
 */
export class Deployment implements AsyncDisposable {
  readonly namespace: string;
  readonly sessionsNamespace: string;
  readonly token = randomBytes(24).toString("hex");
  readonly sparkConf = SPARK_CONF;
  readonly #options: DeploymentOptions;
  readonly #directory = realpathSync(mkdtempSync(join(tmpdir(), "longwick-deployment-")));

  constructor(options: DeploymentOptions = {}) {
    this.#options = options;
    this.namespace = `longwick-test-${randomBytes(3).toString("hex")}`;
    this.sessionsNamespace = `${this.namespace}-sessions`;
  }

  get headers(): Readonly<Record<string, string>> {
    return { Authorization: `Bearer ${this.token}` };
  }

  /** Applies the manifests and waits until every replica is ready. */
  async apply(): Promise<void> {
    this.#write();
    await kubectl(["apply", "--kustomize", this.#directory]);
    await this.rolledOut();
  }

  async rolledOut(): Promise<void> {
    try {
      await this.kubectl("rollout", "status", "deployment/longwick", "--timeout=150s");
    } catch (cause) {
      const said = await this.kubectl("logs", "deployment/longwick", "--tail=20").catch(String);
      const pods = await this.kubectl("describe", "pods").catch(String);
      throw new Error(`the server did not come up\n${said}\n${pods}`, { cause });
    }
  }

  /** `kubectl` in the server's namespace. */
  kubectl(...args: readonly string[]): Promise<string> {
    return kubectl(["--namespace", this.namespace, ...args]);
  }
  /** `kubectl` in the sessions' namespace. */
  sessionsKubectl(...args: readonly string[]): Promise<string> {
    return kubectl(["--namespace", this.sessionsNamespace, ...args]);
  }

  /** The Service, as somebody outside reaches it. */
  async reach(): Promise<{ readonly url: string } & AsyncDisposable> {
    const way = await forward(this.namespace, "service/longwick", 8998);
    return Object.assign(way, { url: `http://127.0.0.1:${way.port}` });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.#directory, { recursive: true, force: true });
    await kubectl(["delete", "namespace", this.namespace, this.sessionsNamespace, "--ignore-not-found", "--timeout=120s"]);
  }

  /** An overlay as docs/kubernetes.md describes it for namespaces of other names. */
  #write(): void {
    const { replicas = 2, config = "", driverImage = DRIVER_IMAGE } = this.#options;
    const [name, tag] = SERVER_IMAGE.split(/:(?=[^/]*$)/);
    const file = (path: string, text: string) => {
      mkdirSync(join(this.#directory, path, ".."), { recursive: true });
      writeFileSync(join(this.#directory, path), text);
    };
    const base = (part: string) => JSON.stringify(relative(join(this.#directory, part), join(MANIFESTS, part)));
    file("tokens", `${createHash("sha256").update(this.token).digest("hex")} ann\n`);
    file(
      "longwick.toml",
      `host = "0.0.0.0"
launcher = "kubernetes"
tokens = "/etc/longwick/users/tokens"
allowCleartextPasswords = true
kubernetesNamespace = "${this.sessionsNamespace}"
kubernetesImage = "${driverImage}"
kubernetesImagePullPolicy = "IfNotPresent"
${config}
[sparkConf]
${Object.entries(this.sparkConf)
  .map(([key, value]) => `${key} = "${value}"\n`)
  .join("")}`,
    );
    file("server/kustomization.yaml", `namespace: ${this.namespace}\nresources: [${base("server")}]\n`);
    file(
      "sessions/kustomization.yaml",
      `namespace: ${this.sessionsNamespace}
resources: [${base("sessions")}]
patches:
  - target: {kind: RoleBinding, name: longwick}
    patch: |
      - {op: replace, path: /subjects/0/namespace, value: ${this.namespace}}
  - target: {kind: NetworkPolicy, name: longwick-driver}
    patch: |
      - op: replace
        path: /spec/ingress/0/from/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name
        value: ${this.namespace}
`,
    );
    file(
      "kustomization.yaml",
      `resources: [server, sessions]
images:
  - {name: longwick-server, newName: "${name}", newTag: "${tag ?? "latest"}"}
replicas:
  - {name: longwick, count: ${replicas}}
configMapGenerator:
  - {name: longwick-config, namespace: ${this.namespace}, behavior: merge, files: [longwick.toml]}
secretGenerator:
  - {name: longwick-users, namespace: ${this.namespace}, files: [tokens], options: {disableNameSuffixHash: true}}
`,
    );
  }
}

/** A deployment that is ready. Use it with `await using`, or dispose it in `afterAll`. */
export const deploy = async (options: DeploymentOptions = {}): Promise<Deployment> => {
  const deployment = new Deployment(options);
  try {
    await deployment.apply();
  } catch (error) {
    await deployment[Symbol.asyncDispose]();
    throw error;
  }
  return deployment;
};
