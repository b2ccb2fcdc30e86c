import type { V1ConfigMap, V1Pod, V1Secret } from "@kubernetes/client-node";
import { afterEach, describe, expect, test } from "vitest";
import { Access } from "../../../src/core/access.ts";
import { type Claim, PLANNED } from "../../../src/core/ports.ts";
import { Sessions } from "../../../src/core/sessions.ts";
import type { SessionSpec } from "../../../src/core/spec.ts";
import { openLink } from "../../../src/link/link.ts";
import { ClusterSite, IMAGE, NAMESPACE, soon } from "../../kit/cluster.ts";
import { draftOf, NO_LIMITS, reach } from "../../launch/contract.ts";

const NOBODY = { name: null, remote: null };
const RULES = { superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] };
const START_MS = 180_000;

const templateOf = (role: string) => ({
  metadata: { labels: { tier: `preset-${role}` } },
  spec: { schedulerName: "default-scheduler", containers: [{ name: "any", env: [{ name: "FROM_TEMPLATE", value: role }] }] },
});
/** Of an image and of templates that no rule allows to a session. */
const PRESET = {
  name: "own",
  limits: { ...NO_LIMITS, driverMemory: "2g" },
  conf: {
    "spark.kubernetes.container.image": IMAGE,
    "spark.kubernetes.driver.podTemplateFile": JSON.stringify(templateOf("driver")),
    "spark.kubernetes.executor.podTemplateFile": JSON.stringify(templateOf("executor")),
    "spark.driver.memory": "600m",
  },
};
const NO_IMAGE = "localhost/no-such-image:1";

/** What the API server adds of its own, once. */
const comparable = ({ spec, metadata }: V1Pod): object => {
  const text = JSON.stringify({ spec: { ...spec, nodeName: undefined }, labels: metadata?.labels, annotations: metadata?.annotations });
  return JSON.parse(text.replaceAll(/kube-api-access-\w{5}/g, "kube-api-access"));
};

describe("a preset on Kubernetes", { timeout: 300_000 }, () => {
  const sites: ClusterSite[] = [];
  const siteOf = (site: ClusterSite): ClusterSite => {
    sites.push(site);
    return site;
  };
  afterEach(async () => {
    await Promise.all(sites.splice(0).map((site) => site.dispose()));
  });
  const at = (kind: string, name = "") => `api/v1/namespaces/${NAMESPACE}/${kind}/${name}`;

  test("a plan is the pod, the executors' template and the conf that are then made", async () => {
    const site = siteOf(ClusterSite.withoutSpark({ image: NO_IMAGE }));
    const launcher = await site.open();
    const asked: Partial<SessionSpec> = {
      preset: PRESET,
      name: "compared",
      driverMemory: "700m",
      conf: {
        "spark.kubernetes.driver.label.team": "blue",
        "spark.kubernetes.driverEnv.GREETING": "hello",
        "spark.kubernetes.driver.volumes.emptyDir.scratch.mount.path": "/scratch",
        "spark.kubernetes.executor.annotation.example.org/a": "b",
      },
    };
    const { conf, workload } = await launcher.plan(draftOf(asked, { owner: "ada" }), soon());
    expect(await site.left()).toEqual([]);
    const claim: Claim = await launcher.claim(draftOf(asked, { owner: "ada" }), soon());
    /** The plan with what only the claim knows. */
    const named = <T>(planned: unknown): T =>
      JSON.parse(
        JSON.stringify(planned)
          .replaceAll(PLANNED.uid, claim.uid)
          .replaceAll(`${site.settings.instance}-0-00000000`, `${site.settings.instance}-0-${claim.uid.slice(0, 8)}`),
      );
    // Nothing is made of it, but it is completed as if it were.
    const planned = await site.api.call<V1Pod>("POST", at("pods"), { query: { dryRun: "All" }, body: named(workload["pod"]) }, soon());
    await reach(launcher.launch(claim), "running", soon());
    const name = planned.metadata?.name ?? "";
    const made = await site.api.get<V1Pod>(at("pods", name), soon());
    expect(comparable(made)).toEqual(comparable(planned));
    expect(made.spec?.containers[0]).toMatchObject({
      image: IMAGE,
      env: expect.arrayContaining([{ name: "FROM_TEMPLATE", value: "driver" }]),
    });
    expect(made.metadata?.labels).toMatchObject({ tier: "preset-driver", team: "blue" });

    const [secret, configMap] = await Promise.all([
      site.api.get<V1Secret>(at("secrets", named<string>(workload["secret"])), soon()),
      site.api.get<V1ConfigMap>(at("configmaps", named<string>(workload["configMap"])), soon()),
    ]);
    expect(JSON.parse(configMap.data?.["executor.json"] ?? "")).toEqual(named(workload["executorTemplate"]));
    const told = JSON.parse(Buffer.from(secret.data?.["driver.json"] ?? "", "base64").toString());
    const values = Object.entries(conf).map(([key, { value }]) => [key, value]);
    expect(told.conf).toEqual(named(Object.fromEntries(values)));
    expect(conf).toMatchObject({
      "spark.driver.memory": { value: "700m", source: "field driverMemory" },
      "spark.kubernetes.container.image": { value: IMAGE, source: "preset own" },
      "spark.kubernetes.namespace": { value: NAMESPACE, source: "server" },
      "spark.kubernetes.executor.request.cores": { value: "10m", source: "configuration" },
    });
  });

  test("image and templates are the operator's word; what the session asks for above them needs its rules, and keeps to the limits", async () => {
    const site = siteOf(ClusterSite.withoutSpark());
    const launcher = await site.open();
    const refusal = async (asked: Partial<SessionSpec>) => {
      const drafts = [draftOf({ preset: PRESET, ...asked }), draftOf({ preset: PRESET, ...asked })] as const;
      const planned = await launcher.plan(drafts[0], soon()).then(() => "planned", String);
      expect(await launcher.claim(drafts[1], soon()).then(() => "claimed", String)).toBe(planned);
      return planned;
    };
    expect(await refusal({ conf: { "spark.kubernetes.container.image": IMAGE } })).toContain("is not allowed by any rule 'image'");
    const template = JSON.stringify(templateOf("driver"));
    expect(await refusal({ conf: { "spark.kubernetes.driver.podTemplateFile": template } })).toContain("any rule 'podTemplate'");
    expect(await refusal({ conf: { "spark.kubernetes.driver.podTemplateContainerName": "side" } })).toContain(
      "there is no template of the session's own",
    );
    expect(await refusal({ driverMemory: "64g" })).toContain("driverMemory 64g is over preset 'own' limit of 2g");
    expect(await refusal({ conf: { "spark.kubernetes.driver.volumes.csi.x.mount.path": "/x" } })).toContain("names no volume of type");
    const impossible = { ...PRESET, conf: { ...PRESET.conf, "spark.driver.host": "x" } };
    expect(await refusal({ preset: impossible })).toContain("spark.driver.host cannot be set");
    expect(await site.left()).toEqual([]);
  });

  test("driver and executors run as it says", async () => {
    const site = siteOf(new ClusterSite({ image: NO_IMAGE }));
    const launcher = await site.open();
    const parts = { launcher, openLink, clock: { now: Date.now }, startWaitMs: START_MS, stopGraceMs: 3_000, uploads: null };
    const sessions = new Sessions(parts, new Access(RULES), { maxSessions: 0, maxSessionsPerUser: 0, retentionMs: 600_000 });
    const session = await sessions.create(draftOf({ preset: PRESET }), NOBODY, soon());
    const code = "import os; print(os.environ['FROM_TEMPLATE'], *sc.parallelize([0]).map(lambda _: os.environ['FROM_TEMPLATE']).collect())";
    const body = {
      key: crypto.randomUUID(),
      code,
      kind: "pyspark" as const,
      origin: null,
      silent: false,
      stopOnError: false,
      stdin: false,
    };
    const id = await session.submit(body, soon(START_MS));
    await session.settled(id, START_MS, soon(START_MS));
    expect(JSON.stringify((await session.statement(id, soon())).outputs)).toContain("driver executor");
    const pods = await site.pods(session.claim);
    expect(pods.map(({ metadata, spec }) => [metadata.labels?.["tier"], spec.containers[0]?.image]).sort()).toEqual([
      ["preset-driver", IMAGE],
      ["preset-executor", IMAGE],
    ]);
    await sessions.delete(session, "enough");
    await sessions.close();
    expect(await site.left()).toEqual([]);
  });
});
