import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { KubeConfig } from "@kubernetes/client-node";
import { afterEach, describe, expect, test } from "vitest";
import { Api } from "../../../src/launch/kubernetes/api.ts";
import { type Stored, Watch } from "../../../src/launch/kubernetes/watch.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A watch of an API server that says what a real one cannot be made to say. */
const watchOf = async (answer: (url: URL, response: ServerResponse) => void) => {
  const asked: URL[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    const url = new URL(request.url ?? "", "http://api");
    asked.push(url);
    answer(url, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(() => new Promise((resolve) => server.close(resolve)));
  const config = new KubeConfig();
  const { port } = server.address() as AddressInfo;
  config.loadFromClusterAndUser({ name: "fake", server: `http://127.0.0.1:${port}`, skipTLSVerify: true }, { name: "anybody" });
  const api = new Api(config);
  closing.push(async () => api.close());
  const told: string[] = [];
  const watch = new Watch<Stored>(api, {
    path: "api/v1/namespaces/any/pods",
    query: {},
    changed: ({ metadata }) => told.push(`+${metadata.name}`),
    gone: ({ metadata }) => told.push(`-${metadata.name}`),
    fault: (message) => told.push(message),
  });
  closing.push(() => watch.close());
  const lists = () => asked.filter((url) => !url.searchParams.has("watch"));
  const watches = () => asked.filter((url) => url.searchParams.has("watch"));
  return { told, lists, watches };
};

const isWatch = (url: URL): boolean => url.searchParams.has("watch");
const json = (response: ServerResponse, body: unknown, status = 200): void => {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
};
const list = (resourceVersion: string, ...names: readonly string[]) => ({
  metadata: { resourceVersion },
  items: names.map((name) => ({ metadata: { name, uid: name, resourceVersion } })),
});

describe("a watch", () => {
  test("that is ended as soon as it began is not begun again without a pause", async () => {
    const { watches, told } = await watchOf((url, response) =>
      isWatch(url) ? response.writeHead(200).end() : json(response, list("1", "a")),
    );
    await expect.poll(() => watches().length, { timeout: 5_000 }).toBeGreaterThan(2);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(watches().length).toBeLessThan(10);
    expect(told).toContain("+a");
  });

  test("that is refused again and again from where it was reads the list anew", async () => {
    const refusal = { kind: "Status", code: 504, reason: "Timeout", message: "Too large resource version: 9000, current: 12" };
    const { told, lists } = await watchOf((url, response) => {
      if (!isWatch(url)) return json(response, lists().length === 1 ? list("9000", "a") : list("12", "b"));
      if (url.searchParams.get("resourceVersion") === "9000") return json(response, refusal, 504);
      response.writeHead(200).flushHeaders();
    });
    await expect.poll(() => told, { timeout: 15_000 }).toContain("+b");
    expect(told).toContain("-a");
  });
});
