import { setTimeout as pause } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { ID_ANNOTATION, INSTANCE_LABEL, PART_LABEL } from "../../src/launch/kubernetes/names.ts";
import type { Stored } from "../../src/launch/kubernetes/watch.ts";
import { ClusterSite, NAMESPACE, prepareNamespace, soon } from "../kit/cluster.ts";
import { type Answer, exchange } from "../kit/http.ts";
import { Livy, type SessionInfo, textOf } from "../kit/livy.ts";
import { type Random, seeded } from "../kit/random.ts";
import { startReplica } from "../kit/replica.ts";
import type { Server } from "../kit/server.ts";
import { until } from "../kit/until.ts";

const START_MS = 180_000;
/** Another server finishes what one that was killed had begun. */
const TAKEOVER_MS = 40_000;
/** What one server does the other hears of; in a fraction of a second where nothing else runs. */
const NEWS_MS = 30_000;
/** A pod that no node takes: all that is the server's is real, and nothing runs. */
const NOWHERE = { "spark.kubernetes.node.selector.planet": "mars" };

/** A pod that Kubernetes does not admit. */
const FORBIDDEN = {
  "spark.kubernetes.driver.volumes.hostPath.root.mount.path": "/root",
  "spark.kubernetes.driver.volumes.hostPath.root.options.path": "/",
};

/** Two servers of one instance, and how to ask each. */
class Pair {
  readonly site: ClusterSite;
  readonly servers: readonly Server[];

  private constructor(site: ClusterSite, servers: readonly Server[]) {
    this.site = site;
    this.servers = servers;
  }

  static async open(site: ClusterSite, flags: readonly string[] = []): Promise<Pair> {
    return new Pair(site, await Promise.all([startReplica(site, flags), startReplica(site, flags)]));
  }

  server(index: number): Server {
    const server = this.servers[index];
    if (server === undefined) throw new Error(`there is no server ${index}`);
    return server;
  }

  /** A client of one of them. */
  livy(index: number): Livy {
    return new Livy(this.server(index).url);
  }

  async sessions(index: number): Promise<readonly SessionInfo[]> {
    return (await this.livy(index).expect<{ sessions: readonly SessionInfo[] }>(200, "GET", "/sessions?size=1000")).sessions;
  }

  /** One question to one of them; null when no whole answer came, as when it is killed. */
  ask(index: number, method: string, path: string, body: object | null = null): Promise<Answer | null> {
    return exchange(this.server(index).url, { method, path, body, timeoutMs: 30_000 }).catch(() => null);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
    await this.site.dispose();
    for (const server of this.servers) await server[Symbol.asyncDispose]();
  }
}

describe("two servers of one instance", () => {
  const pairs: Pair[] = [];
  const open = async (site: ClusterSite, flags: readonly string[] = []): Promise<Pair> => {
    const pair = await Pair.open(site, flags);
    pairs.push(pair);
    return pair;
  };
  afterEach(async () => {
    for (const pair of pairs.splice(0)) await pair.dispose();
  });

  test("answer for each other's sessions; a statement outlives the server it came through and is run once", {
    timeout: 400_000,
  }, async () => {
    const pair = await open(new ClusterSite());
    const [a, b] = [pair.livy(0), pair.livy(1)];
    const submit = async (index: number, code: string, key: string): Promise<number | null> => {
      const path = `/sessions/0/statements`;
      const asked = { method: "POST", path, body: { code }, headers: { "Idempotency-Key": key } };
      const answer = await exchange(pair.server(index).url, asked).catch(() => null);
      if (answer !== null && answer.status !== 201) throw new Error(`${answer.status}: ${JSON.stringify(answer.body)}`);
      return (answer?.body as { id: number } | undefined)?.id ?? null;
    };
    await a.create({ kind: "pyspark", name: "shared" });
    expect(await b.session("shared")).toMatchObject({ id: 0, name: "shared" });
    await b.inState(0, ["idle"], START_MS);
    expect(textOf(await b.run(0, "n = 0\n[spark.range(10).count(), n]"))).toBe("[10, 0]");

    const id = await submit(0, "import time\nn += 1\nfor i in range(60):\n    print(i)\n    time.sleep(0.1)\nn", "once");
    if (id === null) throw new Error("the first server did not answer");
    // The other one knows of it although nobody told it.
    expect(await b.statement(0, id)).toMatchObject({ id });
    await a.running(0, id);
    await pair.server(0).kill();
    expect(await submit(1, "n += 1", "once")).toBe(id);
    const lines = textOf(await b.finished(0, id)).split("\n");
    expect(lines).toEqual([...Array.from({ length: 60 }, (_, line) => String(line)), "1"]);

    await pair.server(0).start();
    expect(await submit(0, "n += 1", "once")).toBe(id);
    // Killed at any moment of a submission whose answer then nobody has.
    for (const [round, afterMs] of [0, 2, 5, 10, 20, 40].entries()) {
      const first = submit(round % 2, "n += 1\nn", `round-${round}`);
      await pause(afterMs);
      await pair.server(round % 2).kill();
      const again = await submit((round + 1) % 2, "n += 1\nn", `round-${round}`);
      const said = await first;
      if (said !== null) expect(again).toBe(said);
      expect(textOf(await pair.livy((round + 1) % 2).finished(0, again ?? -1))).toBe(String(2 + round));
      await pair.server(round % 2).start();
    }
    expect(await a.statements(0)).toEqual(await b.statements(0));

    await a.delete(0);
    await until("the other server has forgotten it", NEWS_MS, async () =>
      (await pair.ask(1, "GET", "/sessions/0"))?.status === 404 ? true : undefined,
    );
    expect(await pair.site.left()).toEqual([]);
  });

  test("count each other's sessions against the limits, and refuse each other's names", async () => {
    const pair = await open(new ClusterSite(), ["--max-sessions", "3"]);
    const create = async (index: number, name: string) => {
      const { status, body } = (await pair.ask(index, "POST", "/sessions", { conf: NOWHERE, name })) ?? { status: 0, body: null };
      return [status, JSON.stringify(body)] as const;
    };
    expect((await create(0, "one"))[0]).toBe(201);
    expect(await create(1, "one")).toEqual([400, expect.stringContaining("Duplicate session name: one")]);
    expect((await create(1, "two"))[0]).toBe(201);
    expect((await create(0, "three"))[0]).toBe(201);
    await until("the second server has heard of the third", NEWS_MS, async () =>
      (await pair.livy(1).expect<{ total: number }>(200, "GET", "/sessions")).total === 3 ? true : undefined,
    );
    expect(await create(1, "four")).toEqual([400, expect.stringContaining("the limit is 3")]);
    await pair.livy(1).delete("one");
    await until("the name is free again", NEWS_MS, async () => ((await create(0, "one"))[0] === 201 ? true : undefined));
  });

  test("finish what the other had begun when it was killed: launches and deletions", { timeout: 300_000 }, async () => {
    const pair = await open(new ClusterSite(), ["--stop-grace-ms", "1s"]);
    const podsOf = async (id: number): Promise<number> => {
      const { items } = await pair.site.api.list<Stored>(
        `api/v1/namespaces/${NAMESPACE}/pods`,
        { labelSelector: `${INSTANCE_LABEL}=${pair.site.settings.instance}` },
        soon(),
      );
      return items.filter(({ metadata }) => metadata.annotations?.[ID_ANNOTATION] === String(id)).length;
    };
    const seen: number[] = [];
    for (const afterMs of [0, 5, 15, 40]) {
      const { id } = await pair.livy(0).create({ conf: NOWHERE });
      await pause(afterMs);
      await pair.server(0).kill();
      await until(`session ${id} has its pod`, TAKEOVER_MS, async () => ((await podsOf(id)) === 1 ? true : undefined));
      expect(await pair.livy(1).session(id)).toMatchObject({ state: "starting" });
      seen.push(id);
      await pair.server(0).start();
    }
    for (const [round, id] of seen.entries()) {
      void pair.ask(0, "DELETE", `/sessions/${id}`);
      await pause([0, 5, 20, 60][round] ?? 0);
      await pair.server(0).kill();
      // Where the deletion had not begun nothing was decided, and the client repeats it.
      await until(`session ${id} is gone`, TAKEOVER_MS, async () => {
        const answer = await pair.ask(1, "DELETE", `/sessions/${id}`);
        return answer?.status === 404 ? true : undefined;
      });
      await pair.server(0).start();
      expect((await pair.ask(0, "GET", `/sessions/${id}`))?.status).toBe(404);
    }
    expect(await pair.site.left()).toEqual([]);
  });

  test("forget a session whose claim is removed by hand, and nothing of it stays, also when no server looked", async () => {
    const pair = await open(new ClusterSite());
    const { instance } = pair.site.settings;
    const removeClaim = (id: number) => pair.site.api.delete(`api/v1/namespaces/${NAMESPACE}/configmaps/${instance}-session-${id}`, soon());
    const clean = async () => ((await pair.site.left()).length === 0 ? true : undefined);
    const [first, second] = [await pair.livy(0).create({ conf: NOWHERE }), await pair.livy(0).create({ conf: NOWHERE })];
    await until("both have their pods", NEWS_MS, async () => ((await pair.site.left()).length === 8 ? true : undefined));
    await removeClaim(first.id);
    for (const index of [0, 1])
      await until("it is forgotten", NEWS_MS, async () =>
        (await pair.ask(index, "GET", `/sessions/${first.id}`))?.status === 404 ? true : undefined,
      );
    await until("only the other is left", NEWS_MS, async () => ((await pair.site.left()).length === 4 ? true : undefined));
    await Promise.all(pair.servers.map((server) => server.kill()));
    await removeClaim(second.id);
    await pair.server(0).start();
    await until("nothing is left", 20_000, clean);
    await pair.server(1).start();
  });

  test("have each other's kernels, from the moment on that one is started", async () => {
    const pair = await open(new ClusterSite());
    for (let nth = 0; nth < 12; nth++) {
      const started = await pair.livy(nth % 2).expect<{ id: string }>(201, "POST", "/api/kernels", { longwick: { conf: NOWHERE } });
      expect((await pair.ask(1 - (nth % 2), "GET", `/api/kernels/${started.id}`))?.status).toBe(200);
      expect((await pair.ask(1 - (nth % 2), "DELETE", `/api/kernels/${started.id}`))?.status).toBe(204);
    }
    const kernels = () => Promise.all([0, 1].map((index) => pair.livy(index).expect<readonly object[]>(200, "GET", "/api/kernels")));
    await until("both have none", NEWS_MS, async () => ((await kernels()).flat().length === 0 ? true : undefined));
    expect(await pair.site.left()).toEqual([]);
  });

  test("tell the same end of a session, and remove it when its retention is over, both at once", async () => {
    const pair = await open(new ClusterSite({ allow: [{ rule: "hostPath", pattern: null }] }), ["--retention-ms", "15s"]);
    const made = [0, 1, 0, 1].map((index, nth) => pair.livy(index).create({ conf: FORBIDDEN, name: `name-${nth}` }));
    await Promise.all(made);
    await until("both tell of all ends", NEWS_MS, async () => {
      const [one, two] = await Promise.all([pair.sessions(0), pair.sessions(1)]);
      expect(one.length).toBe(4);
      return (
        ([...one, ...two].every(({ state }) => state === "dead") && one.every(({ log }, nth) => log.at(-1) === two[nth]?.log.at(-1))) ||
        undefined
      );
    });
    await until("nothing is left", 60_000, async () => ((await pair.site.left()).length === 0 ? true : undefined), 200);
    for (const index of [0, 1])
      await until("both have forgotten them", NEWS_MS, async () => ((await pair.sessions(index)).length === 0 ? true : undefined));
    for (const server of pair.servers) expect(server.written).not.toMatch(/"msg":"(fault|bug)"/);
  });

  test("200 creates while servers are killed: every id is one session's, every claim a session or a stated failure", {
    timeout: 600_000,
  }, async () => {
    const random = seeded(20_261_121);
    const other = `${NAMESPACE}-${crypto.randomUUID().slice(0, 8)}`;
    const allow = [
      { rule: "hostPath", pattern: null },
      { rule: "namespace", pattern: other },
    ] as const;
    const site = new ClusterSite({ allow });
    await prepareNamespace(site.api, other);
    try {
      const pair = await open(site);
      const made = await createMany(pair, random, 200, [
        ...[{ conf: NOWHERE }, { conf: { ...NOWHERE, "spark.kubernetes.namespace": other } }],
        ...[{ conf: { ...NOWHERE, "spark.ssl.keyPassword": "hush" } }, { conf: FORBIDDEN }],
      ]);
      expect(made.missed).toEqual([]);
      expect(made.ids).toHaveLength(200);
      expect(new Set(made.ids).size).toBe(200);

      const claims = await settled(pair, [NAMESPACE, other]);
      const kept = made.ids.filter((id) => !made.deleted.has(id) && !made.doubtful.has(id));
      expect(kept.filter((id) => !claims.has(id))).toEqual([]);
      expect([...made.deleted].filter((id) => claims.has(id))).toEqual([]);

      const cleared = Promise.all([...claims.keys()].map((id, position) => remove(pair, position % 2, id)));
      await pause(300);
      await pair.server(0).kill();
      await pair.server(0).start();
      await cleared;
      for (const namespace of [NAMESPACE, other]) {
        const clean = async () => ((await site.left(namespace)).length === 0 ? true : undefined);
        await until(`nothing is left in ${namespace}`, 200_000, clean, 1_000);
      }
      for (const index of [0, 1]) expect(await pair.sessions(index)).toEqual([]);
      expect((await pair.livy(0).create({ conf: NOWHERE })).id).toBeGreaterThan(Math.max(...made.ids, ...claims.keys()));
    } finally {
      await site.api.delete(`api/v1/namespaces/${other}`, soon());
    }
  });
});

interface Made {
  readonly ids: readonly number[];
  /** Where a server said so, and where it was killed before it could. */
  readonly deleted: ReadonlySet<number>;
  readonly doubtful: ReadonlySet<number>;
  /** Sessions that one server made and the other did not know of. */
  readonly missed: readonly string[];
}

/** Creates sessions through both servers, looks for each through the other, deletes some; a server is killed after every 25th. */
const createMany = async (pair: Pair, random: Random, count: number, flavours: readonly object[]): Promise<Made> => {
  const ids: number[] = [];
  const missed: string[] = [];
  const [deleted, doubtful] = [new Set<number>(), new Set<number>()];
  let begun = 0;
  const client = async (): Promise<void> => {
    while (begun < count) {
      begun += 1;
      const index = random.below(2);
      const { id } = await created(pair, index, random.pick(flavours));
      ids.push(id);
      const seen = await pair.ask(1 - index, "GET", `/sessions/${id}`);
      if (seen !== null && seen.status !== 200) missed.push(`${id}: ${seen.status} ${JSON.stringify(seen.body)}`);
      if (random.below(3) > 0) continue;
      const answer = await pair.ask(random.below(2), "DELETE", `/sessions/${id}`);
      (answer?.status === 200 ? deleted : doubtful).add(id);
    }
  };
  const killer = async (): Promise<void> => {
    for (let at = 25; at < count; at += 25) {
      await until(`${at} creates`, 120_000, () => (ids.length >= at ? true : undefined));
      const victim = pair.server(random.below(2));
      await pause(random.below(100));
      await victim.kill();
      await pause(random.below(500));
      await victim.start();
    }
  };
  await Promise.all([killer(), ...Array.from({ length: 8 }, client)]);
  return { ids, deleted, doubtful, missed };
};

/** A session that this server or, while it is down, the other one makes. */
const created = (pair: Pair, index: number, fields: object): Promise<SessionInfo> => {
  let at = index;
  return until("a session is made", 60_000, async () => {
    const answer = await pair.ask(at, "POST", "/sessions", fields);
    at = 1 - at;
    if (answer === null || answer.status === 503) return undefined;
    expect([answer.status, answer.body]).toEqual([201, expect.anything()]);
    return answer.body as SessionInfo;
  });
};

const STATED = /Session ended \((dead\): Kubernetes refused the driver|killed\): .*(stopped|deleted))/;

/** What is not yet as it shall be: each claim a session with its one pod, or ended with a reason, for both servers alike. */
const unsettled = async (pair: Pair, namespaces: readonly string[]): Promise<{ ids: ReadonlySet<number>; wrong: readonly string[] }> => {
  const { api, settings } = pair.site;
  const list = async (kind: string, namespace: string, part: string) => {
    const labelSelector = `${INSTANCE_LABEL}=${settings.instance},${PART_LABEL}=${part}`;
    return (await api.list<Stored>(`api/v1/namespaces/${namespace}/${kind}`, { labelSelector }, soon())).items;
  };
  const claims = await list("configmaps", NAMESPACE, "claim");
  const [one, two] = await Promise.all([pair.sessions(0), pair.sessions(1)]);
  const pods = (await Promise.all(namespaces.map((namespace) => list("pods", namespace, "driver")))).flat();
  const ids = new Set(claims.map(({ metadata }) => Number(metadata.name.split("-").at(-1))));
  const wrong = [...one, ...two].filter(({ id }) => !ids.has(id)).map(({ id }) => `${id} has no claim`);
  for (const id of ids) {
    const [here, there] = [one.find((session) => session.id === id), two.find((session) => session.id === id)];
    const own = pods.filter(({ metadata }) => metadata.annotations?.[ID_ANNOTATION] === String(id)).length;
    const log = here?.log.join("\n") ?? "";
    if (here?.state !== there?.state) wrong.push(`${id}: ${here?.state} and ${there?.state}`);
    else if (here?.state === "starting" ? own !== 1 : own !== 0 || !STATED.test(log))
      wrong.push(`${id}: ${here?.state}, ${own} pods: ${log}`);
  }
  return { ids, wrong };
};

/** The ids of all claims, once each is a session or a stated failure. */
const settled = async (pair: Pair, namespaces: readonly string[]): Promise<ReadonlySet<number>> => {
  let last: readonly string[] = [];
  const look = async () => {
    const { ids, wrong } = await unsettled(pair, namespaces);
    last = wrong;
    return wrong.length === 0 ? ids : undefined;
  };
  return until("every claim is a session or a stated failure", 60_000, look, 500).catch((cause: unknown) => {
    throw new Error(last.join("\n"), { cause });
  });
};

/** Deletes a session, whoever of the servers is killed meanwhile. */
const remove = (pair: Pair, index: number, id: number): Promise<true> =>
  until(`session ${id} is removed`, 60_000, async () => {
    const answer = await pair.ask(index, "DELETE", `/sessions/${id}`);
    return answer?.status === 200 || answer?.status === 404 ? true : undefined;
  });
