import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Access } from "../../src/core/access.ts";
import { type Upload, type UploadSource, Uploads, uriOf } from "../../src/core/uploads.ts";
import { openDirectoryStore } from "../../src/uploads/directory.ts";
import { ClusterSite, soon } from "../kit/cluster.ts";
import { ClusterServer, NOBODY, ready, run, START_MS } from "../kit/cluster-server.ts";
import { wheelOf, zipOf } from "../kit/uploads.ts";
import { bytes } from "../uploads/contract.ts";

/** Pods have no part of the store: what they are told to use comes over the link, and goes on to executors as Spark does it. */
describe("uploads in pods", { timeout: START_MS + 60_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), "lw-uploads-"));
  let site: ClusterSite;
  let uploads: Uploads;
  beforeAll(() => {
    site = new ClusterSite();
    uploads = new Uploads({
      store: openDirectoryStore(directory),
      access: new Access({ superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] }),
      rules: { limitBytes: 1 << 30, quotaBytes: 0, quotaFiles: 0, retentionMs: 0 },
      clock: { now: Date.now },
      named: () => new Set(),
    });
  });
  afterAll(async () => {
    await site.dispose();
    rmSync(directory, { recursive: true });
  });
  const take = (name: string, content: Uint8Array | string): Promise<Upload> =>
    uploads.take({ name, proxyUser: null }, NOBODY, bytes(content), soon());

  test("a wheel, a jar, a file and an archive reach the driver and its executor", async () => {
    await using server = await ClusterServer.open(site, {}, { uploads });
    const wheel = wheelOf("lwpod", "VALUE = 'from the wheel'\n");
    const session = await server.create({
      pyFiles: [uriOf(await take(wheel.name, wheel.content))],
      jars: [uriOf(await take("probe.jar", zipOf({ "probe.txt": "from the jar" })))],
      files: [uriOf(await take("data é.csv", "1;2"))],
      archives: [`${uriOf(await take("env.zip", zipOf({ "inside.txt": "from the archive" })))}#env`],
    });
    await ready(session);
    const code = `def probe(_=None):
    import lwpod, socket
    from pyspark import SparkFiles
    return socket.gethostname(), [lwpod.VALUE, open(SparkFiles.get("data é.csv")).read(), open(SparkFiles.get("env") + "/inside.txt").read()]
there, told = sc.parallelize([0], 1).map(probe).collect()[0]
stream = sc._jvm.java.lang.Thread.currentThread().getContextClassLoader().getResourceAsStream("probe.txt")
print(there != probe()[0], told == probe()[1], *told, bytes(stream.readAllBytes()).decode(), sep="|")`;
    expect(await run(session, code)).toContain("True|True|from the wheel|1;2|from the archive|from the jar");
    await server.sessions.delete(session, "the test is over");
  });

  test("a server that goes while it sends is followed by another, which goes on; the log tells what is waited for", async () => {
    const content = Buffer.alloc(48 * 1024 * 1024, "0123456789abcdef");
    const large = await take("large.bin", content);
    const half = Promise.withResolvers<void>();
    const offsets: number[] = [];
    /** A store that gives half of the file and then no more. */
    const stuck: UploadSource = {
      open: async (id, from, signal) => {
        const { sha256 } = await uploads.open(id, from, signal);
        const some = async function* () {
          yield content.subarray(from, content.length / 2);
          half.resolve();
          await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
        };
        return { sha256, content: some() };
      },
    };
    const watched: UploadSource = {
      open: (id, from, signal) => {
        offsets.push(from);
        return uploads.open(id, from, signal);
      },
    };
    const first = await ClusterServer.open(site, {}, { uploads: stuck });
    const begun = await first.create({ files: [uriOf(large)] });
    await half.promise;
    await expect
      .poll(() => begun.logTail(20).join("\n"), { timeout: 60_000 })
      .toContain("Waiting for uploads before Spark is started: large.bin.");
    expect(begun.state).toBe("starting");
    await first[Symbol.asyncDispose]();

    await using second = await ClusterServer.open(site, {}, { uploads: watched });
    const session = await ready(second.sessions.find(String(begun.id), NOBODY, "view"));
    // It goes on where the driver stands: what was on its way from the first is sent by the second.
    expect(offsets).toEqual([expect.toSatisfy((at: number) => at > content.length / 2 - 1024 * 1024 && at <= content.length / 2)]);
    const code = `import hashlib\nfrom pyspark import SparkFiles\nprint(hashlib.sha256(open(SparkFiles.get("large.bin"), "rb").read()).hexdigest())`;
    expect(await run(session, code)).toContain(large.sha256);
    await second.sessions.delete(session, "the test is over");
  });
});
