import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Api } from "../../../src/launch/kubernetes/api.ts";
import { DRIVER_RIGHTS, type Right, SCHEDULE_RIGHTS, SERVER_RIGHTS } from "../../../src/launch/kubernetes/rights.ts";
import { soon, testApi } from "../../kit/cluster.ts";
import { type Deployment, deploy } from "../../kit/deployment.ts";

interface Resource {
  readonly group: string;
  /** With its subresource: `pods/log`. */
  readonly name: string;
  readonly namespaced: boolean;
}

const VERBS = ["create", "get", "list", "watch", "update", "patch", "delete", "deletecollection"];
/** Verbs that only some resources know, which lead to more rights. */
const POWERS: readonly (readonly [group: string, resource: string, verb: string])[] = [
  ["", "users", "impersonate"],
  ["", "groups", "impersonate"],
  ["", "serviceaccounts", "impersonate"],
  ["rbac.authorization.k8s.io", "roles", "bind"],
  ["rbac.authorization.k8s.io", "roles", "escalate"],
  ["rbac.authorization.k8s.io", "clusterroles", "bind"],
  ["rbac.authorization.k8s.io", "clusterroles", "escalate"],
  ["certificates.k8s.io", "signers", "approve"],
];

/** Every resource that the API server has, subresources too. */
const discover = async (api: Api): Promise<readonly Resource[]> => {
  interface Group {
    readonly preferredVersion: { readonly groupVersion: string };
  }
  const { groups } = await api.get<{ groups: readonly Group[] }>("apis", soon());
  const paths = ["api/v1", ...groups.map(({ preferredVersion }) => `apis/${preferredVersion.groupVersion}`)];
  const found = await Promise.all(
    paths.map(async (path) => {
      const { resources } = await api.get<{ resources: readonly { name: string; namespaced: boolean }[] }>(path, soon());
      const group = path === "api/v1" ? "" : (path.split("/")[1] ?? "");
      return resources.map(({ name, namespaced }) => ({ group, name, namespaced }));
    }),
  );
  return found.flat();
};

describe("what the accounts may do", { timeout: 180_000 }, () => {
  let api: Api;
  let deployment: Deployment;
  let resources: readonly Resource[];
  beforeAll(async () => {
    api = testApi();
    deployment = await deploy({ replicas: 0 });
    resources = await discover(api);
  });
  afterAll(async () => {
    await deployment?.[Symbol.asyncDispose]();
    api.close();
  });

  /** What `kubectl auth can-i --as` asks. */
  const can = async (account: string, namespace: string, verb: string, group: string, name: string): Promise<boolean> => {
    const [resource, subresource] = name.split("/");
    const [, , home] = account.split(":");
    const review = {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SubjectAccessReview",
      spec: {
        user: account,
        groups: ["system:authenticated", "system:serviceaccounts", `system:serviceaccounts:${home}`],
        resourceAttributes: { namespace, verb, group, resource, subresource },
      },
    };
    const answer = await api.create<{ status: { allowed: boolean } }>("apis/authorization.k8s.io/v1/subjectaccessreviews", review, soon());
    return answer.status.allowed;
  };

  /** Everything an account may do, as `place resource verb`. */
  const sweep = async (account: string, places: Readonly<Record<string, string>>): Promise<readonly string[]> => {
    const asked = [
      ...resources.flatMap(({ group, name, namespaced }) => VERBS.map((verb) => ({ group, name, namespaced, verb }))),
      ...POWERS.flatMap(([group, name, verb]) => [true, false].map((namespaced) => ({ group, name, namespaced, verb }))),
    ].flatMap((one) =>
      (one.namespaced ? Object.entries(places) : [["cluster", ""] as const]).map(([place, namespace]) => ({ ...one, place, namespace })),
    );
    const allowed: string[] = [];
    const workers = Array.from({ length: 16 }, async () => {
      for (let one = asked.pop(); one !== undefined; one = asked.pop())
        if (await can(account, one.namespace, one.verb, one.group, one.name))
          allowed.push(`${one.place} ${one.group === "" ? "" : `${one.group}/`}${one.name} ${one.verb}`);
    });
    await Promise.all(workers);
    return allowed.sort();
  };

  const account = (namespace: string, name: string): string => `system:serviceaccount:${namespace}:${name}`;
  const places = () => ({ server: deployment.namespace, sessions: deployment.sessionsNamespace, elsewhere: "kube-system" });
  const table = (rights: readonly Right[]): readonly string[] =>
    rights
      .flatMap(({ where, group, resource, verbs }) =>
        verbs.map((verb) => `${where} ${group === undefined ? "" : `${group}/`}${resource} ${verb}`),
      )
      .sort();

  test("is what they need and nothing else, over all resources and verbs there are", async () => {
    const nobody = new Set(await sweep(account(deployment.namespace, "nobody"), places()));
    const besides = (allowed: readonly string[]) => allowed.filter((one) => !nobody.has(one));
    expect(resources.length).toBeGreaterThan(100);
    expect(besides(await sweep(account(deployment.namespace, "longwick"), places()))).toEqual(
      table([...SERVER_RIGHTS, ...SCHEDULE_RIGHTS]),
    );
    expect(besides(await sweep(account(deployment.sessionsNamespace, "longwick-driver"), places()))).toEqual(table(DRIVER_RIGHTS));
    // Executors run under this one.
    expect(besides(await sweep(account(deployment.sessionsNamespace, "default"), places()))).toEqual([]);
  });

  test("is told by kubectl in the same words", async () => {
    const asked = async (who: string, ...question: readonly string[]) =>
      (
        await deployment.sessionsKubectl("auth", "can-i", ...question, `--as=${who}`).catch((error: { stdout: string }) => error.stdout)
      ).trim();
    const driver = account(deployment.sessionsNamespace, "longwick-driver");
    const server = account(deployment.namespace, "longwick");
    expect(await asked(driver, "create", "pods")).toBe("yes");
    expect(await asked(driver, "get", "secrets")).toBe("no");
    expect(await asked(driver, "create", "pods", "--subresource=exec")).toBe("no");
    expect(await asked(server, "create", "pods")).toBe("yes");
    expect(await asked(server, "create", "pods", "--subresource=exec")).toBe("no");
    expect(await asked(server, "update", "pods")).toBe("no");
  });
});
