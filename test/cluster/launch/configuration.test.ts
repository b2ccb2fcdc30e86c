import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Session } from "../../../src/core/session.ts";
import { ClusterSite, NAMESPACE, prepareNamespace, soon } from "../../kit/cluster.ts";
import { ClusterServer, NOBODY } from "../../kit/cluster-server.ts";
import { until } from "../../kit/until.ts";
import { draftOf } from "../../launch/contract.ts";

const SPEAKS_MS = 60_000;

/** Its driver has been reached. */
const speaks = (session: Session): Promise<true> =>
  until(`the driver of session ${session.id} speaks`, SPEAKS_MS, () => (session.epoch !== null ? true : undefined));

const onlySession = (server: ClusterServer): Session => {
  const [session, ...others] = server.sessions.list(NOBODY);
  if (session === undefined || others.length > 0)
    throw new Error(`one session was expected, there are ${server.sessions.list(NOBODY).length}`);
  return session;
};

describe("a server whose configuration names another namespace than before", { timeout: 180_000 }, () => {
  let site: ClusterSite;
  let other: string;

  beforeEach(async () => {
    site = ClusterSite.withoutSpark();
    other = `${NAMESPACE}-${crypto.randomUUID().slice(0, 8)}`;
    await prepareNamespace(site.api, other);
  });
  afterEach(async () => {
    await site.api.delete(`api/v1/namespaces/${other}`, soon());
    await site.dispose();
  });

  test("finds the sessions that run where they are, and ends them there", async () => {
    const before = await ClusterServer.open(site);
    await speaks(await before.create());
    await before[Symbol.asyncDispose]();

    await using after = await ClusterServer.open(site, { namespace: other });
    const session = onlySession(after);
    await speaks(session);
    expect(await site.pods(session.claim)).toHaveLength(1);
    await after.sessions.delete(session, "it was found");
    expect(await site.left()).toEqual([]);
  });

  test("launches what was only claimed where and as it was to be, with secrets of the configuration", async () => {
    const { spark } = site.settings;
    const sparkConf = { ...spark.sparkConf, "spark.kubernetes.driver.label.made": "before", "spark.ssl.keyPassword": "hush" };
    const before = await site.open({ spark: { ...spark, sparkConf } });
    const claim = await before.claim(draftOf(), soon());
    expect(JSON.stringify(claim)).not.toContain("hush");
    await before.close();

    await using after = await ClusterServer.open(site, { namespace: other });
    await speaks(onlySession(after));
    const [pod] = await site.pods(claim);
    expect(pod?.metadata.labels).toMatchObject({ made: "before" });
    const secret = await site.api.get<{ data: { "driver.json": string } }>(site.at("secrets", pod?.metadata.name), soon());
    expect(JSON.parse(Buffer.from(secret.data["driver.json"], "base64").toString()).conf).toMatchObject({
      "spark.ssl.keyPassword": "hush",
    });
  });

  test("takes a claim of a release that did not write that down for one of its own namespace", async () => {
    const before = await ClusterServer.open(site);
    const made = await before.create();
    await speaks(made);
    await before[Symbol.asyncDispose]();
    const path = `api/v1/namespaces/${NAMESPACE}/${site.claimOf(made.claim)}`;
    const { data } = await site.api.get<{ data: { "claim.json": string } }>(path, soon());
    const { spec, ...claim } = JSON.parse(data["claim.json"]);
    const { configuration, ...old } = spec;
    expect(configuration).toMatchObject({ "spark.kubernetes.namespace": NAMESPACE });
    await site.api.merge(path, { data: { "claim.json": JSON.stringify({ ...claim, spec: old }) } }, soon());

    await using after = await ClusterServer.open(site);
    await speaks(onlySession(after));
    await after.sessions.delete(onlySession(after), "it was found");
    expect(await site.left()).toEqual([]);
  });
});
