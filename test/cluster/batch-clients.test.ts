import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { APPLICATIONS, airflowIsTold, driveAirflow, drivePylivyBatches, type Place, PYLIVY_IS_TOLD } from "../kit/batch-clients.ts";
import { ClusterSite, prepareNamespace } from "../kit/cluster.ts";
import { serveFiles } from "../kit/file-server.ts";
import { startReplica } from "../kit/replica.ts";
import type { Server } from "../kit/server.ts";

describe("batches in pods", { timeout: 900_000 }, () => {
  const site = new ClusterSite();
  let server: Server;
  let at: Place;

  beforeAll(async () => {
    await prepareNamespace(site.api);
    const files = await serveFiles(site, Object.fromEntries(Object.entries(APPLICATIONS).map(([name, code]) => [name, Buffer.from(code)])));
    at = (name) => `${files}/${name}`;
    server = await startReplica(site);
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await site.dispose();
  });

  test("are run by Airflow's operator, sensor, hook and trigger", async () => {
    expect(await driveAirflow(server.url, at, "report.py")).toEqual(airflowIsTold("Path 'report.py' is not absolute."));
    expect(await site.driverPods()).toEqual([]);
  });

  test("are run, read, listed and killed by pylivy", async () => {
    for (const { id } of await batches()) await fetch(`${server.url}/batches/${id}`, { method: "DELETE" });
    expect(await drivePylivyBatches(server.url, at)).toEqual(PYLIVY_IS_TOLD);
    expect(await site.driverPods()).toEqual([]);
  });

  const batches = async () => ((await (await fetch(`${server.url}/batches`)).json()) as { sessions: { id: number }[] }).sessions;
});
