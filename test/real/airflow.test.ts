import { expect, test } from "vitest";
import { Applications } from "../kit/applications.ts";
import { airflowIsTold, driveAirflow } from "../kit/batch-clients.ts";
import { startServer } from "../kit/server.ts";

test("Airflow's operator, sensor, hook and trigger run batches", { timeout: 900_000 }, async () => {
  await using applications = await Applications.make();
  const at = await applications.forClients();
  await using server = await startServer({ flags: ["--local-paths", applications.directory] });
  const told = await driveAirflow(server.url, at, "/etc/hostname");
  expect(told).toEqual(airflowIsTold("Local path /etc/hostname cannot be added to user sessions."));
});
