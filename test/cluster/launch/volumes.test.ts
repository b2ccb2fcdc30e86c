import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ClusterSite, NAMESPACE, prepareNamespace, soon, testApi } from "../../kit/cluster.ts";
import { ClusterServer, run, START_MS, says } from "../../kit/cluster-server.ts";

const PREFIX = "spark.kubernetes.ROLE.volumes";
/** The same of driver and executors. */
const ofBoth = (conf: Record<string, string>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(conf).flatMap(([key, value]) => ["driver", "executor"].map((role) => [key.replace("ROLE", role), value])),
  );

/** Where Pod Security lets in what an operator's rules allow. */
describe("in a namespace whose Pod Security forbids no volumes", { timeout: 240_000 }, () => {
  const namespace = `${NAMESPACE}-${crypto.randomUUID().slice(0, 8)}`;
  const api = testApi();
  beforeAll(async () => {
    await prepareNamespace(api, namespace);
    await api.merge(
      `api/v1/namespaces/${namespace}`,
      { metadata: { labels: { "pod-security.kubernetes.io/enforce": "privileged" } } },
      soon(),
    );
  });
  afterAll(async () => {
    await api.delete(`api/v1/namespaces/${namespace}`, soon());
    api.close();
  });

  test("a directory of the node is where the session asked for it, in driver and executors, as far as a rule allows it", async () => {
    await using site = new ClusterSite({ namespace, allow: [{ rule: "hostPath", pattern: "/tmp" }] });
    await using server = await ClusterServer.open(site);
    const asked = (path: string) =>
      ofBoth({
        [`${PREFIX}.hostPath.shared.mount.path`]: "/shared",
        [`${PREFIX}.hostPath.shared.options.path`]: path,
        [`${PREFIX}.hostPath.shared.options.type`]: "DirectoryOrCreate",
      });
    await expect(server.create({ conf: asked("/etc") })).rejects.toThrow(/'\/etc' is not allowed by any rule 'hostPath'/);
    const session = await server.create({ conf: asked("/tmp") });
    const mark = `/shared/${site.settings.instance}`;
    const code = `
import os
open('${mark}', 'w').write('of the node')
print(open('${mark}').read(), sc.parallelize([0]).map(lambda _: open('${mark}').read()).collect())
os.unlink('${mark}')`;
    expect(await run(session, code)).toContain("of the node ['of the node']");
  });

  test("what an NFS server does not give is told: of the driver while it starts, of an executor while its job waits", async () => {
    await using site = new ClusterSite({ namespace, allow: [{ rule: "nfs", pattern: "127.0.0.1:/export" }] });
    await using server = await ClusterServer.open(site, { startTimeoutMs: 0 });
    const asked = (role: string) => ({
      [`${PREFIX}.nfs.data.mount.path`.replace("ROLE", role)]: "/data",
      [`${PREFIX}.nfs.data.options.server`.replace("ROLE", role)]: "127.0.0.1",
      [`${PREFIX}.nfs.data.options.path`.replace("ROLE", role)]: "/export/data",
    });
    const [waits, works] = await Promise.all([server.create({ conf: asked("driver") }), server.create({ conf: asked("executor") })]);
    const words = /FailedMount: MountVolume.SetUp failed for volume "data" : .*127\.0\.0\.1:\/export\/data/;
    await says(waits, words, START_MS);
    const answer = run(works, "sc.range(3).sum()").catch(() => "");
    await says(works, new RegExp(`Executor .*-exec-1 waits: ${words.source}`), START_MS);
    for (const session of [waits, works]) await server.sessions.delete(session, "enough");
    await answer;
    expect(await site.left()).toEqual([]);
  });
});
