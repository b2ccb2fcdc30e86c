import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { KubeConfig } from "@kubernetes/client-node";
import { afterEach, expect, test } from "vitest";
import { Api } from "../../../src/launch/kubernetes/api.ts";
import { connectTcp } from "../../../src/launch/kubernetes/dial.ts";
import { openTunnel } from "../../../src/launch/kubernetes/tunnel.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});
const soon = () => AbortSignal.timeout(5_000);

/** An API server that answers as a real one cannot be made to. */
const apiOf = async (answer: RequestListener) => {
  const server = createServer(answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const config = new KubeConfig();
  const { port } = server.address() as AddressInfo;
  config.loadFromClusterAndUser({ name: "fake", server: `http://127.0.0.1:${port}`, skipTLSVerify: true }, { name: "anybody" });
  const api = new Api(config);
  closing.push(() => api.close());
  const connections = () =>
    new Promise<number>((resolve, reject) => server.getConnections((error, count) => (error ? reject(error) : resolve(count))));
  return { api, server, connections };
};

test("watches leave room for calls, however many there are", async () => {
  const { api } = await apiOf(({ url = "" }, response) => {
    if (url.includes("watch=true")) response.writeHead(200).flushHeaders();
    else response.writeHead(200, { "content-type": "application/json" }).end("{}");
  });
  const leave = new AbortController();
  closing.push(() => leave.abort());
  for (let index = 0; index < 100; index++)
    void api
      .watch(`api/v1/namespaces/n${index}/pods`, {}, "1", leave.signal)
      .next()
      .catch(() => undefined);
  expect(await api.get("version", soon())).toEqual({});
});

test("a watch that ends with an error, or is left, leaves no connection", async () => {
  const { api, connections } = await apiOf((_, response) => {
    response.writeHead(200).write(`${JSON.stringify({ type: "ADDED", object: {} })}\n`);
    response.write(`${JSON.stringify({ type: "ERROR", object: { code: 410, reason: "Expired" } })}\n`);
  });
  const all = async () => {
    for await (const _ of api.watch("api/v1/pods", {}, "1", soon()));
  };
  await expect(all()).rejects.toMatchObject({ status: 410 });
  for await (const _ of api.watch("api/v1/pods", {}, "1", soon())) break;
  await expect.poll(connections).toBe(0);
});

test("a refusal of a port-forward that breaks off is one all the same", async () => {
  const { api, server } = await apiOf((_, response) => response.end());
  server.on("upgrade", (_, socket) => {
    socket.on("error", () => undefined);
    socket.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 1000\r\n\r\nno", () => setTimeout(() => socket.destroy(), 50));
  });
  await expect(openTunnel(api, "any", "driver", 7997, soon())).rejects.toThrow(/refuses the port-forward/);
});

test("a pod without an address is not this machine", async () => {
  const { server } = await apiOf((_, response) => response.end());
  const { port } = server.address() as AddressInfo;
  await expect(connectTcp("", port, soon())).rejects.toThrow("the driver's pod has no address");
});
