import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { onSession } from "../../../src/core/events.ts";
import type { Api } from "../../../src/launch/kubernetes/api.ts";
import { type Right, SERVER_RIGHTS } from "../../../src/launch/kubernetes/rights.ts";
import type { KubernetesSettings } from "../../../src/launch/kubernetes/settings.ts";
import { Account } from "../../kit/account.ts";
import { ApiProxy, TOO_BUSY } from "../../kit/api-proxy.ts";
import { ClusterSite, IMAGE, inNamespace, NAMESPACE, prepareNamespace, soon, testApi } from "../../kit/cluster.ts";
import { ClusterServer, ended, NOBODY, says } from "../../kit/cluster-server.ts";
import { until } from "../../kit/until.ts";
import { draftOf } from "../../launch/contract.ts";

/** A server whose drivers need no Spark, with the conf of a session. */
const opened = async (asked: Partial<KubernetesSettings> = {}, retentionMs?: number) => {
  const site = ClusterSite.withoutSpark(asked);
  const server = await ClusterServer.open(site, {}, retentionMs === undefined ? {} : { retentionMs });
  return {
    site,
    server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await site.dispose();
    },
  };
};

describe("a driver's pod that is not admitted", { timeout: 60_000 }, () => {
  test("because Pod Security forbids what it mounts fails at once with the words of Kubernetes", async () => {
    await using place = await opened({ allow: [{ rule: "hostPath", pattern: null }] });
    const at = "spark.kubernetes.driver.volumes.hostPath.root";
    const session = await place.server.create({ conf: { [`${at}.mount.path`]: "/root", [`${at}.options.path`]: "/" } });
    expect(await ended(session)).toMatch(/Kubernetes refused the driver \(Forbidden\): .*violates PodSecurity "restricted.*hostPath/);
    expect(await place.site.left()).toEqual([place.site.claimOf(session.claim)]);
  });

  test("because its account is missing fails at once and names it", async () => {
    await using place = await opened({ serviceAccount: "nobody-made-it" });
    const session = await place.server.create();
    expect(await ended(session)).toMatch(/refused the driver \(Forbidden\): .*serviceaccount "nobody-made-it" not found/);
    expect(session.state).toBe("dead");
    expect(await place.site.left()).toEqual([place.site.claimOf(session.claim)]);
  });

  test("because its namespace is missing fails at once and names it", async () => {
    await using place = await opened({ namespace: "nobody-made-it" });
    expect(await ended(await place.server.create())).toMatch(/refused the driver \(NotFound\): namespaces "nobody-made-it" not found/);
  });

  test("because the server may do nothing in its namespace fails soon with what is forbidden", async () => {
    await using proxy = await ApiProxy.start();
    await using place = await opened({ kubeconfig: proxy.kubeconfig, allow: [{ rule: "namespace", pattern: null }] });
    const message = "the server may do nothing here";
    proxy.answer = ({ url = "" }) =>
      url.includes("/namespaces/of-others/") ? { status: 403, body: { kind: "Status", code: 403, reason: "Forbidden", message } } : null;
    const session = await place.server.create({ conf: { "spark.kubernetes.namespace": "of-others" } });
    expect(await ended(session)).toMatch(/Kubernetes refused the driver \(Forbidden\): the server may do nothing here/);
    proxy.answer = () => null;
    await place.server.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
  });

  describe("because the namespace", () => {
    const namespace = `longwick-test-${crypto.randomUUID().slice(0, 8)}`;
    const api = testApi();
    const at = (kind: string, name = "") => inNamespace(kind, name, namespace);
    beforeAll(() => prepareNamespace(api, namespace));
    afterAll(async () => {
      await api.delete(`api/v1/namespaces/${namespace}`, soon());
      api.close();
    });

    test("has limits that it is above fails at once with the limit", async () => {
      await using place = await opened({ namespace, serverNamespace: namespace });
      const limits = [{ type: "Container", max: { memory: "3Gi" } }];
      await api.create(at("limitranges"), { metadata: { name: "narrow" }, spec: { limits } }, soon());
      expect(await ended(await place.server.create({ driverMemory: "4g" }))).toMatch(/maximum memory usage per Container is 3Gi/);
      await api.delete(at("limitranges", "narrow"), soon());
    });

    test("has no quota left waits and says so, and starts when there is some; one that is larger than all of it fails", async () => {
      await using place = await opened({ namespace, serverNamespace: namespace });
      const { site, server } = place;
      await api.create(
        at("resourcequotas"),
        { metadata: { name: "few" }, spec: { hard: { pods: "0", "requests.memory": "100Gi" } } },
        soon(),
      );
      await quotaCounts(api, at("resourcequotas", "few"));
      const never = await server.create();
      expect(await ended(never)).toMatch(/larger than the namespace's whole quota: .*requested: pods=1.* limited: pods=0/);
      expect(await site.left()).toEqual([site.claimOf(never.claim)]);
      await api.merge(at("resourcequotas", "few"), { spec: { hard: { pods: "1" } } }, soon());
      await quotaCounts(api, at("resourcequotas", "few"));
      const first = await server.create();
      await expect.poll(() => site.running(first.claim), { timeout: 20_000 }).toBe(1);
      const second = await server.create();
      await says(second, /quota is used up: .*exceeded quota: .*limited: pods=1/);
      expect(second.state).toBe("starting");
      await server.sessions.delete(first, "room is needed");
      await expect.poll(() => site.running(second.claim), { timeout: 30_000 }).toBe(1);
      await api.delete(at("resourcequotas", "few"), soon());
    });
  });
});

/** A quota holds from when the controller has counted what is there. */
const quotaCounts = async (api: Api, path: string): Promise<void> => {
  interface Quota {
    readonly spec: { readonly hard: object };
    readonly status?: { readonly hard?: object; readonly used?: object };
  }
  await until("the quota is counted", 20_000, async () => {
    const { spec, status } = await api.get<Quota>(path, soon());
    return status?.used !== undefined && isDeepStrictEqual(status.hard, spec.hard) ? true : undefined;
  });
};

// Each has an instance of its own; most of their time they wait.
describe.concurrent("a driver's pod that cannot start", { timeout: 120_000 }, () => {
  test("for want of a node says why while it waits, and is given up in time", async ({ expect }) => {
    await using place = await opened({ startTimeoutMs: 15_000 });
    const session = await place.server.create({ conf: { "spark.kubernetes.node.selector.planet": "mars" } });
    await says(session, /waits for a node: .*node/);
    expect(await ended(session)).toMatch(/did not start within 15 s\. .*affinity\/selector/);
    expect(await place.site.left()).toEqual([place.site.claimOf(session.claim)]);
  });

  test("for want of memory on any node says so", async ({ expect }) => {
    await using place = await opened();
    const session = await place.server.create({ driverMemory: "200g" });
    await says(session, /waits for a node: .*Insufficient memory/);
    await place.server.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
  });

  test("for want of a volume says which", async ({ expect }) => {
    await using place = await opened({ allow: [{ rule: "secret", pattern: null }] });
    const claim = "spark.kubernetes.driver.volumes.persistentVolumeClaim.data";
    const [unclaimed, onDemand, secretless, keyless] = await Promise.all(
      [
        { [`${claim}.mount.path`]: "/data", [`${claim}.options.claimName`]: "nobody-made-it" },
        {
          [`${claim}.mount.path`]: "/data",
          [`${claim}.options.claimName`]: "OnDemand",
          [`${claim}.options.storageClass`]: "nobody-made-it",
        },
        { "spark.kubernetes.driver.secrets.nobody-made-it": "/keys" },
        { "spark.kubernetes.driver.secretKeyRef.TOKEN": "nobody-made-it:token" },
      ].map((conf) => place.server.create({ conf })),
    );
    if (unclaimed === undefined || onDemand === undefined || secretless === undefined || keyless === undefined)
      throw new Error("no session");
    await says(unclaimed, /waits for a node: .*persistentvolumeclaim "nobody-made-it" not found/);
    await says(onDemand, /waits for a node: .*(unbound|storageclass)/i);
    await says(secretless, /FailedMount: .*secret "nobody-made-it" not found/);
    await says(keyless, /container cannot be made \(CreateContainerConfigError\): secret "nobody-made-it" not found/);
    for (const session of [unclaimed, onDemand, secretless, keyless]) await place.server.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
  });

  test("says why to a server that comes later, too", async ({ expect }) => {
    await using place = await opened({ allow: [{ rule: "secret", pattern: null }] });
    const missing = /FailedMount: .*secret "nobody-made-it" not found/;
    const { claim } = await place.server.create({ conf: { "spark.kubernetes.driver.secrets.nobody-made-it": "/keys" } });
    await says(place.server.sessions.find(String(claim.id), NOBODY, "view"), missing);
    await using proxy = await ApiProxy.start();
    // The kubelet says it again, sooner or later.
    proxy.answer = ({ url = "" }) => (/\/events\?.*watch=true/.test(url) ? TOO_BUSY : null);
    await using other = await ClusterServer.open(place.site, { kubeconfig: proxy.kubeconfig });
    const session = other.sessions.find(String(claim.id), NOBODY, "view");
    await says(session, missing);
    await other.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
  });

  test("because nobody has its image fails with the puller's words, at once where there is no such registry", async ({ expect }) => {
    await using place = await opened({ allow: [{ rule: "image", pattern: null }] });
    const image = (name: string) => place.server.create({ conf: { "spark.kubernetes.driver.container.image": name } });
    const silent = await image("127.0.0.1:1/no/such:image");
    const none = await image("registry.invalid/no/such:image");
    await says(silent, /image 127\.0\.0\.1:1\/no\/such:image cannot be pulled: .*127\.0\.0\.1:1/);
    expect(await ended(none)).toMatch(/image registry\.invalid\/no\/such:image cannot be pulled: .*no such host/);
    expect(silent.state).toBe("starting");
  });

  test("because its image has no such Python or Java fails with what is missing", async ({ expect }) => {
    await using pythonless = await opened({ python: "/nowhere/python3" });
    await using javaless = await opened({ java: "/nowhere/java" });
    const [first, second] = await Promise.all([pythonless.server.create(), javaless.server.create()]);
    expect(await ended(first)).toMatch(/container cannot be (made|started).*\/nowhere\/python3.*no such file or directory/);
    expect(await ended(second)).toMatch(/\/nowhere\/java/);
    for (const { site, server } of [pythonless, javaless])
      expect(await site.left()).toEqual(server.sessions.list(NOBODY).map(({ claim }) => site.claimOf(claim)));
  });

  test("because an init container fails says so, and is given up when it failed four times", async () => {
    const template = {
      spec: {
        initContainers: [
          {
            name: "prepare",
            image: IMAGE,
            imagePullPolicy: "IfNotPresent",
            command: ["sh", "-c", "echo looked everywhere; echo no luck >/dev/termination-log; exit 3"],
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
          },
        ],
      },
    };
    const rules = ["podTemplate", "image", "securityContext"] as const;
    await using place = await opened({ allow: rules.map((rule) => ({ rule, pattern: null })) });
    const session = await place.server.create({ conf: { "spark.kubernetes.driver.podTemplateFile": JSON.stringify(template) } });
    await says(session, /Init container prepare .*failed and is started again: exit code 3: no luck/);
    expect(await ended(session)).toMatch(/Init container prepare .*failed 4 times: exit code 3: no luck/);
    expect(session.logTail(10)).toContain("looked everywhere");
    expect(await place.site.left()).toEqual([place.site.claimOf(session.claim)]);
  });
});

/** The server's rights without these verbs on pods. */
const withoutPods = (...verbs: readonly string[]): readonly Right[] =>
  SERVER_RIGHTS.map((right) =>
    right.resource === "pods" ? { ...right, verbs: right.verbs.filter((verb) => !verbs.includes(verb)) } : right,
  );

describe.concurrent("a server", { timeout: 120_000 }, () => {
  const api = testApi();
  afterAll(() => api.close());

  test("that may not make pods yet says so to the session, which starts when it may", async ({ expect }) => {
    await using account = await Account.make(api, NAMESPACE, withoutPods("create"));
    await using place = await opened({ kubeconfig: account.kubeconfig });
    const session = await place.server.create();
    await says(
      session,
      new RegExp(`^The server's account ${account.user} may not create pods in namespace ${NAMESPACE}\\. .* tried again`),
    );
    expect(session.state).toBe("starting");
    await account.allow(SERVER_RIGHTS);
    await expect.poll(() => place.site.running(session.claim), { timeout: 30_000 }).toBe(1);
    await place.server.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
  });

  test("that may never make or see pods ends the session with what is missing, and leaves nothing of it", async ({ expect }) => {
    const rights = SERVER_RIGHTS.filter(({ resource }) => resource !== "pods");
    await using account = await Account.make(api, NAMESPACE, rights);
    await using place = await opened({ kubeconfig: account.kubeconfig });
    const session = await place.server.create();
    expect(await ended(session)).toMatch(
      /^The driver could not be started for 30 s\. The server's account .* may not create pods in namespace/,
    );
    expect(session.end).toMatchObject({ state: "dead", cause: "submission-refused" });
    expect(await place.site.left()).toEqual([place.site.claimOf(session.claim)]);
  });

  test.each([
    ["POST", "/pods"],
    ["PATCH", "/configmaps/"],
  ])("that is not known for a moment, at %s …%s, goes on with the session after that", async (asked, path) => {
    await using proxy = await ApiProxy.start();
    await using place = await opened({ kubeconfig: proxy.kubeconfig });
    const session = await place.server.create();
    const unknown = ({ method, url = "" }: { method?: string | undefined; url?: string | undefined }) =>
      method === asked && url.includes(path) ? UNAUTHORIZED : null;
    proxy.answer = unknown;
    await says(session, /^The API server does not accept the server's credentials \(Unauthorized\)\. .* tried again/);
    proxy.answer = () => null;
    await expect.poll(() => session.pendingReason, { timeout: 30_000 }).toBe("");
    expect(session.end).toBeNull();
    await place.server.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
  });

  test("that may not delete pods any more says so to whoever deletes a session, and does it once it may", async ({ expect }) => {
    await using proxy = await ApiProxy.start();
    await using place = await opened({ kubeconfig: proxy.kubeconfig });
    const faults: string[] = [];
    const session = await place.server.create();
    const leave = onSession((event) => event.session === session.id && event.event === "fault" && faults.push(event.detail));
    await expect.poll(() => place.site.running(session.claim), { timeout: 30_000 }).toBe(1);
    const message = `pods "d" is forbidden: User "anybody" cannot delete resource "pods" in API group "" in the namespace "${NAMESPACE}"`;
    const forbidden = { status: 403, body: { kind: "Status", code: 403, reason: "Forbidden", message } };
    proxy.answer = ({ method, url = "" }) => (method === "DELETE" && url.includes("/pods/") ? forbidden : null);
    const why = /could not be removed .* account anybody may not delete pods in namespace/;
    await expect(place.server.sessions.delete(session, "enough")).rejects.toMatchObject({ message: expect.stringMatching(why) });
    leave();
    expect(session.end).toMatchObject({ state: "killed", reason: "enough" });
    expect(faults.join("\n")).not.toMatch(/could not be written down/);
    proxy.answer = () => null;
    await place.server.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
  });

  test("follows a namespace until the last of its sessions is removed", async ({ expect }) => {
    await using proxy = await ApiProxy.start();
    await using place = await opened({ kubeconfig: proxy.kubeconfig, allow: [{ rule: "namespace", pattern: null }] });
    const asked: string[] = [];
    proxy.answer = ({ url = "" }) => {
      if (/\/(pods|events)\?.*watch=true/.test(url)) asked.push(/namespaces\/([^/]+)/.exec(url)?.[1] ?? "");
      return null;
    };
    /** Namespaces whose watches are begun anew when all connections break. */
    const followed = async (): Promise<readonly string[]> => {
      asked.length = 0;
      // Pauses are jittered: whoever comes at all has come when another comes for the second time.
      for (const times of [2, 4]) {
        proxy.cut();
        await expect
          .poll(() => asked.filter((namespace) => namespace === NAMESPACE).length, { timeout: 20_000 })
          .toBeGreaterThanOrEqual(times);
      }
      return [...new Set(asked)].toSorted();
    };
    const sessions = await Promise.all([1, 2].map(() => place.server.create({ conf: { "spark.kubernetes.namespace": "nobody-made-it" } })));
    for (const session of sessions) await ended(session);
    expect(await followed()).toEqual([NAMESPACE, "nobody-made-it"].toSorted());
    for (const session of sessions) await place.server.sessions.delete(session, "enough");
    expect(await followed()).toEqual([NAMESPACE]);
    expect(await place.site.left()).toEqual([]);
  });

  test("that may not see the pods that another made leaves the driver alone, and finds it when it may", async ({ expect }) => {
    await using account = await Account.make(api, NAMESPACE, withoutPods("get", "list", "watch"));
    await using place = await opened();
    const { claim } = await place.server.create();
    await expect.poll(() => place.site.running(claim), { timeout: 30_000 }).toBe(1);
    await using other = await ClusterServer.open(place.site, { kubeconfig: account.kubeconfig });
    const session = other.sessions.find(String(claim.id), NOBODY, "view");
    await says(session, /may not get pods in namespace/);
    await account.allow(SERVER_RIGHTS);
    await expect.poll(() => session.pendingReason, { timeout: 30_000 }).toBe("");
    expect(session.end).toBeNull();
    expect(await place.site.running(claim)).toBe(1);
    await other.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
  });
});

const UNAUTHORIZED = { status: 401, body: { kind: "Status", code: 401, reason: "Unauthorized", message: "Unauthorized" } };

describe.concurrent("an API server", { timeout: 120_000 }, () => {
  const through = async (proxy: ApiProxy) => opened({ kubeconfig: proxy.kubeconfig });

  test("that has too much to do is asked again when it says, and no session is lost", async ({ expect }) => {
    await using proxy = await ApiProxy.start();
    await using place = await through(proxy);
    let refused = 0;
    // Each request is refused once before it is answered.
    const seen = new Set<string>();
    proxy.answer = ({ method, url = "" }) => {
      const asked = `${method} ${url}`;
      if (method === "GET" || seen.has(asked)) return null;
      seen.add(asked);
      refused += 1;
      return TOO_BUSY;
    };
    const session = await place.server.create({ name: "patient" });
    await expect.poll(() => session.logTotal > 0 && place.site.running(session.claim), { timeout: 60_000 }).toBe(1);
    await place.server.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
    expect(refused).toBeGreaterThan(5);
  });

  test("that answers slowly is waited for", async ({ expect }) => {
    await using proxy = await ApiProxy.start();
    await using place = await through(proxy);
    proxy.delayMs = 800;
    const session = await place.server.create();
    await expect.poll(() => session.state, { timeout: 60_000 }).toBe("starting");
    await expect.poll(() => place.site.running(session.claim), { timeout: 60_000 }).toBe(1);
    await place.server.sessions.delete(session, "enough");
    expect(await place.site.left()).toEqual([]);
  });

  test("that answers nothing more is named, by the request that needs it and by the session that waits", async ({ expect }) => {
    await using proxy = await ApiProxy.start();
    await using place = await through(proxy);
    proxy.answer = ({ method, url = "" }) => (method === "POST" && url.endsWith("/pods") ? BROKEN : null);
    const session = await place.server.create();
    await says(session, /pod is still to be made: the API server gave no answer in time: .*webhook is down/);
    proxy.answer = () => null;
    await expect.poll(() => place.site.running(session.claim), { timeout: 30_000 }).toBe(1);
    proxy.answer = () => TOO_BUSY;
    const refusal = place.server.sessions.create(draftOf(), { name: null, remote: null }, AbortSignal.timeout(5_000));
    await expect(refusal).rejects.toMatchObject({
      code: "DRIVER_UNREACHABLE",
      message: expect.stringContaining("too many requests, please try again later"),
    });
    proxy.answer = () => null;
    await place.server.sessions.delete(session, "enough");
  });
});

const BROKEN = { status: 500, body: { kind: "Status", code: 500, reason: "InternalError", message: "a webhook is down" } };
