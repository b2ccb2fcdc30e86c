import type { V1Pod } from "@kubernetes/client-node";
import { PLANNED } from "../../src/core/ports.ts";
import type { Session } from "../../src/core/session.ts";
import type { SessionSpec } from "../../src/core/spec.ts";
import { plain } from "../../src/launch/conf.ts";
import { planDriver } from "../../src/launch/kubernetes/driver.ts";
import { INSTANCE_LABEL } from "../../src/launch/kubernetes/names.ts";
import type { DriverPod } from "../../src/launch/kubernetes/pod-reading.ts";
import { Watch } from "../../src/launch/kubernetes/watch.ts";
import { ClusterSite, inNamespace, soon } from "../../test/kit/cluster.ts";
import { ClusterServer, ready, run, START_MS } from "../../test/kit/cluster-server.ts";
import { SPARK_SETTINGS } from "../../test/kit/launch-settings.ts";
import { until } from "../../test/kit/until.ts";
import { specOf } from "../../test/launch/contract.ts";
import type { Row } from "../report.ts";
import { BENCH_NAMESPACE } from "./namespace.ts";

/** Neither waits for executors; without any they do not take the machine's cores meanwhile. A busy node has room for so little. */
const ASKED: Partial<SessionSpec> = {
  conf: {
    "spark.kubernetes.driver.request.cores": "100m",
    "spark.dynamicAllocation.enabled": "true",
    "spark.dynamicAllocation.shuffleTracking.enabled": "true",
    "spark.dynamicAllocation.initialExecutors": "0",
  },
};

/** Moments of a start in milliseconds of Unix time. Those inside of the pod are by its node's clock. */
interface Moments {
  readonly asked: number;
  readonly created: number;
  readonly scheduled: number;
  readonly container: number;
  /** The JVM is up and begins to make its context. */
  readonly jvm: number;
  readonly context: number;
  /** The client sees that code is taken. */
  readonly idle: number;
}
type Inside = Pick<Moments, "container" | "jvm">;

/** Python, run where `sc` is there: prints when the container's first process and the context began. */
const PROBE = `
import os, time
uptime = float(open("/proc/uptime").read().split()[0])
first = int(open("/proc/1/stat").read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
print("MOMENTS", (time.time() - uptime + first) * 1000, sc.startTime, flush=True)
`;

/** The floor: a bare SparkSession in client mode. It says when it had one, and waits to be ended. */
const BARE = `
import glob, json, os, sys, time
home = os.environ["SPARK_HOME"]
sys.path[:0] = [home + "/python", *glob.glob(home + "/python/lib/py4j-*.zip")]
from pyspark import SparkConf
from pyspark.sql import SparkSession
conf = json.loads(os.environ["BENCH_CONF"])
conf["spark.master"] = conf["spark.master"].format(**os.environ)
conf["spark.driver.host"] = os.environ["LONGWICK_POD_IP"]
sc = SparkSession.builder.config(conf=SparkConf().setAll(conf.items())).getOrCreate().sparkContext
context = time.time() * 1000
${PROBE}
print("CONTEXT", context, flush=True)
time.sleep(3600)
`;

/** The cluster tells of pods by the second at best; who watches sees it happen. */
class PodTimes {
  readonly #seen = new Map<string, { created: number; scheduled: number }>();
  readonly #watch: Watch<DriverPod>;

  constructor(site: ClusterSite) {
    this.#watch = new Watch<DriverPod>(site.api, {
      path: inNamespace("pods", "", BENCH_NAMESPACE),
      query: { labelSelector: `${INSTANCE_LABEL}=${site.settings.instance}` },
      changed: (pod) => this.#saw(pod),
      gone: () => undefined,
      fault: (message) => process.stderr.write(`${message}\n`),
    });
  }

  #saw({ metadata, status }: DriverPod): void {
    const times = this.#seen.get(metadata.name) ?? { created: Date.now(), scheduled: 0 };
    this.#seen.set(metadata.name, times);
    const scheduled = status?.conditions?.some(({ type, status: is }) => type === "PodScheduled" && is === "True") === true;
    if (scheduled && times.scheduled === 0) times.scheduled = Date.now();
  }

  of(pod: string): Pick<Moments, "created" | "scheduled"> {
    const times = this.#seen.get(pod);
    if (times === undefined) throw new Error(`nobody saw the pod '${pod}'`);
    return times;
  }

  get synced(): Promise<void> {
    return this.#watch.synced;
  }

  close(): Promise<void> {
    return this.#watch.close();
  }
}

/** What the probe printed. */
const inside = (text: string): Inside => {
  const [, container, jvm] = /MOMENTS ([\d.]+) ([\d.]+)/.exec(text) ?? [];
  if (container === undefined) throw new Error(`the probe failed: ${text}`);
  return { container: Number(container), jvm: Number(jvm) };
};

const ourStart = async (server: ClusterServer, times: PodTimes): Promise<Moments> => {
  const asked = Date.now();
  const session = await server.create(ASKED);
  await ready(session, START_MS);
  const idle = Date.now();
  const [pod] = await server.site.pods(session.claim);
  const found = inside(await run(session, PROBE));
  const context = await readyAt(session);
  await server.sessions.delete(session, "it was measured");
  return { asked, ...times.of(pod?.metadata.name ?? ""), ...found, context, idle };
};

/** When the interpreter had its context. */
const readyAt = async (session: Session): Promise<number> => {
  for await (const record of session.records(0, soon()))
    if (record !== "reset" && record.type === "interpreter" && record.phase === "ready") return record.atMs;
  throw new Error("the records tell of no interpreter that was ready");
};

/** The same pod, but for what is ours in it. */
const barePod = (round: number, site: ClusterSite): V1Pod => {
  const spec = specOf(ASKED);
  const settings = { ...site.settings, namespace: BENCH_NAMESPACE, driverTemplate: null, executorTemplate: null };
  const claim = { ...PLANNED, owner: null, spec, createdMs: 0, notes: [], attempts: [], end: null };
  const { pod, launch } = planDriver({ claim, spec, settings });
  const name = `${site.settings.instance}-bare-${round}`;
  const { "spark.kubernetes.executor.podTemplateFile": _, ...conf } = plain(launch.conf);
  const [container] = pod.spec?.containers ?? [];
  const own = (volume: { readonly name: string }) => volume.name !== "longwick-program" && volume.name !== "longwick-secret";
  return {
    ...pod,
    metadata: { name, labels: { [INSTANCE_LABEL]: site.settings.instance } },
    spec: {
      ...pod.spec,
      restartPolicy: "Never",
      volumes: pod.spec?.volumes?.filter(own) ?? [],
      containers: [
        {
          ...container,
          name: "bare",
          command: ["python3", "-c", BARE],
          env: [
            ...(container?.env ?? []),
            { name: "BENCH_CONF", value: JSON.stringify({ ...conf, "spark.kubernetes.driver.pod.name": name }) },
          ],
          volumeMounts: container?.volumeMounts?.filter(own) ?? [],
        },
      ],
    },
  };
};

const bareStart = async (round: number, site: ClusterSite, times: PodTimes): Promise<Moments> => {
  const pod = barePod(round, site);
  const name = pod.metadata?.name ?? "";
  const path = inNamespace("pods", name, BENCH_NAMESPACE);
  const asked = Date.now();
  await site.api.create(inNamespace("pods", "", BENCH_NAMESPACE), pod, soon());
  const said = await until(
    "the bare pod has a context",
    START_MS,
    async () => {
      // Nothing, not even an empty text, as long as nothing is written.
      const log = await site.api.get<string | undefined>(`${path}/log`, soon()).catch(() => undefined);
      if (log?.includes("Traceback")) throw new Error(`the bare pod failed:\n${log}`);
      return log?.includes("MOMENTS") ? log : undefined;
    },
    500,
  );
  await site.api.delete(path, soon(), { gracePeriodSeconds: 0 });
  const context = Number(/CONTEXT ([\d.]+)/.exec(said)?.[1]);
  return { asked, ...times.of(name), ...inside(said), context, idle: context };
};

const PHASES = [
  ["asked", "created", "asked → pod created"],
  ["created", "scheduled", "→ scheduled"],
  ["scheduled", "container", "→ container started"],
  ["container", "jvm", "→ JVM up, context begun"],
  ["jvm", "context", "→ Spark context there"],
  ["context", "idle", "→ idle, code is taken"],
  ["asked", "idle", "**asked → idle**"],
] as const;

/** The phases of a driver's cold start, beside a bare SparkSession in a pod like it. */
export const coldStart = async (rounds: number): Promise<readonly Row[]> => {
  await using site = new ClusterSite({ namespace: BENCH_NAMESPACE, serverNamespace: BENCH_NAMESPACE, spark: SPARK_SETTINGS });
  const times = new PodTimes(site);
  await using _times = { [Symbol.asyncDispose]: () => times.close() };
  await using server = await ClusterServer.open(site);
  await times.synced;
  const [ours, floor]: [Moments[], Moments[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    floor.push(await bareStart(round, site, times));
    ours.push(await ourStart(server, times));
  }
  const between = (moments: readonly Moments[], from: keyof Moments, to: keyof Moments) => moments.map((all) => all[to] - all[from]);
  return PHASES.map(([from, to, what]) => ({
    what,
    unit: "ms",
    ours: between(ours, from, to),
    floor: from === "context" ? null : { name: "bare SparkSession in a pod", values: between(floor, from, to) },
    goal: { kind: "none" },
  }));
};
