import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { KubeConfig } from "@kubernetes/client-node";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Api, ApiError } from "../../../src/launch/kubernetes/api.ts";
import { type Stored, Watch } from "../../../src/launch/kubernetes/watch.ts";
import { NAMESPACE, soon } from "../../kit/cluster.ts";

const PATH = `api/v1/namespaces/${NAMESPACE}/configmaps`;

/** The way to the API server: cut it, close it, open it again. */
class Way {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  open = true;
  connections = 0;

  constructor(target: URL) {
    this.#server = createServer((near) => {
      if (!this.open) {
        near.destroy();
        return;
      }
      this.connections += 1;
      const far = connect(Number(target.port || 443), target.hostname);
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one);
        one.on("error", () => undefined);
        one.on("close", () => {
          this.#sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe("a watch", { timeout: 60_000 }, () => {
  const label = `watch-${crypto.randomUUID()}`;
  let way: Way;
  let api: Api;
  const closing: (() => Promise<void>)[] = [];

  beforeEach(async () => {
    const config = new KubeConfig();
    config.loadFromDefault();
    const cluster = config.getCurrentCluster();
    const user = config.getCurrentUser();
    if (cluster === null || user === null) throw new Error("the kubeconfig has no current context");
    way = new Way(new URL(cluster.server));
    const port = await way.listen();
    const through = new KubeConfig();
    // The certificate is the API server's, not the proxy's.
    through.loadFromClusterAndUser({ ...cluster, server: `https://127.0.0.1:${port}`, skipTLSVerify: true }, user);
    api = new Api(through);
  });
  afterEach(async () => {
    for (const close of closing.splice(0)) await close();
    way.open = true;
    await api.delete(PATH, soon(), {}, { labelSelector: `test=${label}` });
    api.close();
    await way.close();
  });

  const make = (name: string) =>
    api.create<Stored>(PATH, { metadata: { name: `${label.slice(0, 20)}-${name}`, labels: { test: label } } }, soon());
  const drop = (object: Stored) => api.delete(`${PATH}/${object.metadata.name}`, soon());

  /** What is told, in order: `+name` or `-name`. */
  const follow = (over = api): { readonly watch: Watch<Stored>; readonly told: string[] } => {
    const told: string[] = [];
    const short = (object: Stored) => object.metadata.name.slice(21);
    const watch = new Watch<Stored>(over, {
      path: PATH,
      query: { labelSelector: `test=${label}` },
      changed: (object) => told.push(`+${short(object)}`),
      gone: (object) => told.push(`-${short(object)}`),
      fault: (message) => told.push(message),
    });
    closing.push(() => watch.close());
    return { watch, told };
  };

  test("tells of what is there, comes, and goes", async () => {
    const a = await make("a");
    const { watch, told } = follow();
    await watch.synced;
    expect(told).toEqual(["+a"]);
    const b = await make("b");
    await drop(a);
    await drop(b);
    await expect.poll(() => told, { timeout: 20_000 }).toEqual(["+a", "+b", "-a", "-b"]);
  });

  test("that is cut goes on where it was: nothing is told twice, nothing is missing", async () => {
    const a = await make("a");
    const { watch, told } = follow();
    await watch.synced;
    way.cut();
    await make("b");
    await expect.poll(() => told, { timeout: 20_000 }).toEqual(["+a", "+b"]);
    way.cut();
    await drop(a);
    await expect.poll(() => told, { timeout: 20_000 }).toEqual(["+a", "+b", "-a"]);
  });

  test("says that it is down, and knows what went meanwhile when it is up again", async () => {
    const a = await make("a");
    const { watch, told } = follow();
    await watch.synced;
    way.open = false;
    way.cut();
    await expect.poll(() => told.at(-1), { timeout: 20_000 }).toMatch(/is down: /);
    way.open = true;
    await drop(a);
    await expect.poll(() => told.at(-1), { timeout: 20_000 }).toBe("-a");
  });

  test("whose past is gone (410) reads everything anew, and tells of what went in between as gone", async () => {
    const a = await make("a");
    /** The real server, asked once to go on from a moment it has forgotten. */
    class Forgotten extends Api {
      expired = 0;
      override async *watch(path: string, query: Readonly<Record<string, string>>, version: string, signal: AbortSignal) {
        if (this.expired > 0) return yield* super.watch(path, query, version, signal);
        this.expired += 1;
        await drop(a);
        await make("b");
        try {
          yield* super.watch(path, query, "1", signal);
        } catch (error) {
          expect(error).toBeInstanceOf(ApiError);
          expect(error).toMatchObject({ status: 410 });
          throw error;
        }
      }
    }
    const config = new KubeConfig();
    config.loadFromDefault();
    const forgetful = new Forgotten(config);
    const { told } = follow(forgetful);
    await expect.poll(() => told, { timeout: 20_000 }).toEqual(["+a", "+b", "-a"]);
    expect(forgetful.expired).toBe(1);
    forgetful.close();
  });

  test("that is closed ends at once", async () => {
    const { watch } = follow();
    await watch.synced;
    // A watch that waited for its end by the API server would wait for minutes.
    await watch.close();
    await watch.close();
  });
});
