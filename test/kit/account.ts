import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import type { Api } from "../../src/launch/kubernetes/api.ts";
import type { Right } from "../../src/launch/kubernetes/rights.ts";
import { soon } from "./cluster.ts";

interface Token {
  readonly status: { readonly token: string };
}

/** As a Role has them. */
export const rulesOf = (rights: readonly Right[]): readonly object[] =>
  rights.map(({ group = "", resource, verbs }) => ({ apiGroups: [group], resources: [resource], verbs: [...verbs] }));

/** A service account that may do in its namespace what its Role says, and nothing else. */
export class Account implements AsyncDisposable {
  /** How the API server calls it. */
  readonly user: string;
  readonly #api: Api;
  readonly #namespace: string;
  readonly #name = `server-${crypto.randomUUID().slice(0, 8)}`;
  readonly #directory = mkdtempSync(join(tmpdir(), "longwick-account-"));
  readonly #config = new KubeConfig();

  private constructor(api: Api, namespace: string) {
    this.#api = api;
    this.#namespace = namespace;
    this.user = `system:serviceaccount:${namespace}:${this.#name}`;
  }

  static async make(api: Api, namespace: string, rights: readonly Right[]): Promise<Account> {
    const account = new Account(api, namespace);
    await account.#make(rights);
    return account;
  }

  /** With its token, which the file holds too. */
  get config(): KubeConfig {
    return this.#config;
  }

  /** A file that makes whoever uses it this account. */
  get kubeconfig(): string {
    return join(this.#directory, "kubeconfig");
  }

  /** It may do this from now on, and nothing else. */
  async allow(rights: readonly Right[]): Promise<void> {
    await this.#api.merge(`${this.#rbac}/roles/${this.#name}`, { rules: rulesOf(rights) }, soon());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.#directory, { recursive: true, force: true });
    for (const kind of ["rolebindings", "roles"]) await this.#api.delete(`${this.#rbac}/${kind}/${this.#name}`, soon());
    await this.#api.delete(`${this.#accounts}/${this.#name}`, soon());
  }

  async #make(rights: readonly Right[]): Promise<void> {
    const [api, namespace, name] = [this.#api, this.#namespace, this.#name];
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name };
    const subjects = [{ kind: "ServiceAccount", name, namespace }];
    await api.create(this.#accounts, { metadata: { name } }, soon());
    await api.create(`${this.#rbac}/roles`, { metadata: { name }, rules: rulesOf(rights) }, soon());
    await api.create(`${this.#rbac}/rolebindings`, { metadata: { name }, roleRef, subjects }, soon());
    const { status } = await api.create<Token>(`${this.#accounts}/${name}/token`, { spec: {} }, soon());
    const own = new KubeConfig();
    own.loadFromDefault();
    const cluster = own.getCurrentCluster();
    if (cluster === null) throw new Error("the kubeconfig has no current cluster");
    this.#config.loadFromClusterAndUser(cluster, { name, token: status.token });
    writeFileSync(this.kubeconfig, this.#config.exportConfig(), { mode: 0o600 });
  }

  get #accounts(): string {
    return `api/v1/namespaces/${this.#namespace}/serviceaccounts`;
  }

  get #rbac(): string {
    return `apis/rbac.authorization.k8s.io/v1/namespaces/${this.#namespace}`;
  }
}
