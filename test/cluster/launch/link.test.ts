import { once } from "node:events";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Workload } from "../../../src/core/ports.ts";
import type { Session } from "../../../src/core/session.ts";
import { masterKeyName } from "../../../src/launch/kubernetes/names.ts";
import { openLink } from "../../../src/link/link.ts";
import { ApiProxy } from "../../kit/api-proxy.ts";
import { ClusterSite, inNamespace, soon } from "../../kit/cluster.ts";
import { ClusterServer, ended, NOBODY, run, START_MS, says } from "../../kit/cluster-server.ts";
import { retainedBytes } from "../../kit/memory.ts";
import { draftOf, firstWords, reach } from "../../launch/contract.ts";

const MIB = 1024 * 1024;

describe("a driver", { timeout: 120_000 }, () => {
  test("answers nobody who speaks plainly, older TLS, with a wrong key or with another session's", async () => {
    await using site = ClusterSite.withoutSpark();
    const launcher = await site.open();
    const [one, other] = await Promise.all([launcher.claim(draftOf(), soon()), launcher.claim(draftOf(), soon())]);
    const workloads = [launcher.launch(one), launcher.launch(other)] as const;
    for (const workload of workloads) {
      await reach(workload, "running", soon());
      await firstWords(workload, soon());
    }
    const [pod] = await site.pods(one);
    const host = pod?.status?.podIP ?? "";
    const plain = connect({ host, port: 7997 });
    plain.write('{"frame":"prove"}\n');
    plain.on("error", () => undefined);
    const said: Buffer[] = [];
    plain.on("data", (data: Buffer) => said.push(data));
    await expect.poll(() => plain.closed, { timeout: 30_000 }).toBe(true);
    expect(Buffer.concat(said).toString()).not.toContain("challenge");
    const old = connectTls({ host, port: 7997, rejectUnauthorized: false, maxVersion: "TLSv1.2" });
    await expect(once(old, "secureConnect", { signal: soon() })).rejects.toThrow(/alert protocol version|ECONNRESET|EPROTO/i);
    for (const key of [new Uint8Array(32), workloads[1].key]) {
      const link = openLink({ session: one.uid, key, dial: (signal) => workloads[0].dial(signal) }, { strikes: 1 });
      const seen: string[] = [];
      for await (const event of link.events()) {
        seen.push(event.type);
        if (event.type === "refused") break;
      }
      await link.close();
      expect(seen).not.toContain("up");
    }
  });

  test("lives through the rotation of the master key; without its key it is listed, says why, and can be ended", async () => {
    await using site = ClusterSite.withoutSpark();
    const secret = inNamespace("secrets", masterKeyName(site.settings.instance));
    const [first, second] = [Buffer.alloc(32, 1).toString("base64"), Buffer.alloc(32, 2).toString("base64")];
    const keys = async (data: Record<string, string | null>) => void (await site.api.merge(secret, { data }, soon()));
    let server = await ClusterServer.open(site);
    const restart = async () => {
      await server[Symbol.asyncDispose]();
      server = await ClusterServer.open(site);
    };
    await keys({ current: first });
    await restart();
    const old = await server.create();
    expect(await old.caughtUp(60_000, soon())).toBe(true);
    await keys({ current: second, previous: first });
    await restart();
    const young = await server.create();
    for (const { id } of [old, young]) expect(await server.sessions.find(String(id), NOBODY, "view").caughtUp(60_000, soon())).toBe(true);
    await keys({ previous: null });
    await restart();
    expect(await server.sessions.find(String(young.id), NOBODY, "view").caughtUp(60_000, soon())).toBe(true);
    const lost = server.sessions.find(String(old.id), NOBODY, "modify");
    expect(lost.state).toBe("error");
    await says(lost, /cannot be spoken to: the master key that the session was made with is not known here any more/);
    await expect(run(lost, "1 + 1")).rejects.toThrow(/state error: the master key/);
    await server.sessions.delete(lost, "nobody can use it");
    await server.sessions.delete(server.sessions.find(String(young.id), NOBODY, "modify"), "enough");
    expect(await site.left()).toEqual([]);
    await server[Symbol.asyncDispose]();
  });
});

describe("a port-forward", { timeout: 240_000 }, () => {
  let proxy: ApiProxy;
  let site: ClusterSite;
  let server: ClusterServer;
  let session: Session;
  let workload: Workload;

  beforeAll(async () => {
    proxy = await ApiProxy.start();
    const limits = { statementLimitBytes: 128 * MIB, journalLimitBytes: 512 * MIB };
    site = new ClusterSite({ reach: "port-forward", kubeconfig: proxy.kubeconfig, ...limits });
    const launcher = await site.open();
    const claim = await launcher.claim(draftOf({ name: "far" }), soon());
    workload = launcher.launch(claim);
    server = await ClusterServer.open(site);
    session = server.sessions.find("far", NOBODY, "modify");
    await run(session, "x = 'é'");
  }, START_MS);
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await site.dispose();
    await proxy[Symbol.asyncDispose]();
  });

  test("carries jobs and their output whole", async () => {
    expect(await run(session, "sc.range(100).sum()")).toContain("4950");
    expect(await run(session, "print(x * 3_000_000)")).toContain("é".repeat(3_000_000));
  });

  test("that breaks is made again: a statement's output comes whole and once", async () => {
    const answer = run(session, "import time\nfor n in range(60): print(f'<{n}>', flush=True); time.sleep(0.05)");
    for (let cut = 0; cut < 3; cut++) {
      const before = proxy.requests;
      proxy.cut();
      await expect.poll(() => proxy.requests, { timeout: 30_000 }).toBeGreaterThan(before);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    const lines = [...(await answer).matchAll(/<(\d+)>/g)].map(([, n]) => Number(n));
    expect(lines).toEqual(Array.from({ length: 60 }, (_, n) => n));
  });

  test("is no place where output piles up: a server that stops reading holds little of it, and misses nothing", async () => {
    // Of what a statement wrote last its server's view holds all; here are two links and no view.
    await server[Symbol.asyncDispose]();
    const open = () => openLink({ session: session.uid, key: workload.key, dial: (signal) => workload.dial(signal) });
    const [paused, reader] = [open(), open()];
    const events = paused.events()[Symbol.asyncIterator]();
    for (let event = await events.next(); event.value?.type !== "reset"; event = await events.next());
    const heldBytes = await retainedBytes();
    const code = "for n in range(100): print('y' * (1 << 20))";
    const submitted = {
      key: crypto.randomUUID(),
      code,
      kind: "pyspark",
      origin: null,
      silent: false,
      stopOnError: false,
      stdin: false,
    } as const;
    const { statement } = await reader.request("submit", submitted, soon());
    for await (const event of reader.events())
      if (event.type === "records" && event.records.some((record) => record.type === "finished" && record.statement === statement)) break;
    expect((await retainedBytes()) - heldBytes).toBeLessThan(32 * MIB);
    let seen = 0;
    while (seen < 100 * MIB) {
      const { value, done } = await events.next();
      if (done) throw new Error("the link has ended");
      if (value.type !== "records") continue;
      for (const record of value.records) if (record.type === "stream") seen += (record.text.match(/y/g) ?? []).length;
    }
    expect(seen).toBe(100 * MIB);
    await Promise.all([paused.close(), reader.close()]);
    server = await ClusterServer.open(site);
    session = server.sessions.find("far", NOBODY, "modify");
  });

  test("that the API server refuses is named in the session's log", async () => {
    proxy.answer = ({ url = "" }) => (url.includes("portforward") ? FORBIDDEN : null);
    proxy.cut();
    await says(session, /does not answer and is called again: the API server refuses the port-forward: you may not/);
    proxy.answer = () => null;
    expect(await run(session, "1 + 1")).toContain('"2"');
    await server.sessions.delete(session, "enough");
    expect(await ended(session)).toMatch(/enough/);
    expect(await site.left()).toEqual([]);
  });
});

const FORBIDDEN = { status: 403, body: { kind: "Status", code: 403, reason: "Forbidden", message: "you may not" } };
