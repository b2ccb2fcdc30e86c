import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import type { Api } from "../../src/launch/kubernetes/api.ts";
import { ClusterSite, inNamespace, prepareNamespace, soon, testApi } from "./cluster.ts";
import { kubectl } from "./kubectl.ts";
import { type BatchInfo, Livy } from "./livy.ts";
import { startReplica } from "./replica.ts";
import type { Server } from "./server.ts";

/** Spark's stand-in: runs as many seconds as the application's last argument says, and fails when that is no number. */
const SLEEPER = '#!/bin/sh\nfor last; do :; done\nexec sleep "$last"\n';
const TEMPLATE = `
spec:
  volumes: [{name: stub, configMap: {name: sleeper, defaultMode: 365, items: [{key: java, path: bin/java}]}}]
  containers:
    - name: any
      env: [{name: JAVA_HOME, value: /stub}]
      volumeMounts: [{name: stub, mountPath: /stub}]
      resources: {requests: {cpu: 10m, memory: 32Mi}}
`;
/** The request of a batch that runs so long, or fails at once. */
export const batchOf = (seconds: number | "no time") => ({ file: "local:///opt/spark/__init__.py", args: [String(seconds)] });

/** A namespace of a test file's own for servers and what they schedule: there before the first of its tests, removed after the last. */
export const scheduleNamespace = (): { readonly api: Api; readonly namespace: string } => {
  const api = testApi();
  const namespace = `longwick-test-${crypto.randomUUID().slice(0, 8)}`;
  beforeAll(async () => {
    await prepareNamespace(api, namespace);
    await api.create(inNamespace("configmaps", "", namespace), { metadata: { name: "sleeper" }, data: { java: SLEEPER } }, soon());
  }, 60_000);
  afterAll(async () => {
    await api.delete(`api/v1/namespaces/${namespace}`, soon());
    api.close();
  });
  return { api, namespace };
};

export interface RunInfo {
  readonly uid: string;
  readonly dueMs: number;
  readonly state: string;
  readonly batch: number | null;
  readonly reason: string | null;
}

/** Servers of an instance of its own, whose users are a file of the test's, with a schedule `job`. */
export class SchedulePlace implements AsyncDisposable {
  readonly namespace: string;
  readonly site: ClusterSite;
  readonly #directory = mkdtempSync(join(tmpdir(), "longwick-schedules-"));
  readonly servers: Server[] = [];
  livy!: Livy;

  /** `flags`: further ones of the servers. */
  static async open(namespace: string, servers = 1, flags: readonly string[] = []): Promise<SchedulePlace> {
    const place = new SchedulePlace(namespace);
    place.users("ann", "root");
    writeFileSync(join(place.#directory, "template.yaml"), TEMPLATE);
    const own = ["--kubernetes-driver-template", join(place.#directory, "template.yaml")];
    own.push("--tokens", join(place.#directory, "tokens"), "--superusers", "root", "--stop-grace-ms", "1000");
    for (let index = 0; index < servers; index++) place.servers.push(await startReplica(place.site, [...own, ...flags]));
    place.livy = place.as("ann");
    return place;
  }

  private constructor(namespace: string) {
    this.namespace = namespace;
    this.site = ClusterSite.withoutSpark({ namespace, serverNamespace: namespace });
  }

  users(...names: readonly string[]): void {
    const line = (name: string) => `${createHash("sha256").update(`token-of-${name}`).digest("hex")} ${name}\n`;
    writeFileSync(join(this.#directory, "tokens"), names.map(line).join(""));
  }

  as(name: string, server = 0): Livy {
    return new Livy(this.servers[server]?.url ?? "", { authorization: `Bearer token-of-${name}` });
  }

  schedule(fields: object): Promise<{ readonly uid: string }> {
    return this.livy.expect(201, "POST", "/schedules", { name: "job", schedule: "* * * * *", ...fields });
  }

  async runs(livy = this.livy): Promise<readonly RunInfo[]> {
    return (await livy.expect<{ runs: readonly RunInfo[] }>(200, "GET", "/schedules/job/runs")).runs;
  }

  async batches(livy = this.livy): Promise<readonly BatchInfo[]> {
    return (await livy.expect<{ sessions: readonly BatchInfo[] }>(200, "GET", "/batches?schedule=job")).sessions;
  }

  /** The run of a Job that is made now, not at its time. */
  async fire(name: string): Promise<string> {
    await this.kubectl("create", "job", name, `--from=cronjob/${this.site.settings.instance}-job`);
    return (await this.kubectl("get", "job", name, "-o", "jsonpath={.metadata.uid}")).trim();
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return kubectl(["--namespace", this.namespace, ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.servers) await server.stop().catch(() => undefined);
    for (const server of this.servers) await server[Symbol.asyncDispose]();
    await this.site.dispose();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
