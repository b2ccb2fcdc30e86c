import { expect, test } from "vitest";
import { shrinkViews } from "../../src/core/view-memory.ts";
import { Service } from "../faces/service.ts";
import type { FakeDriver } from "../kit/fake-driver.ts";

const EVERYBODY = { name: null, remote: null };
const TEXT = "x".repeat(100_000);

const submit = async (service: Service, id: number, driver: FakeDriver, { end }: { end: boolean }): Promise<void> => {
  await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "print()" } });
  driver.emit("started", { statement: 0, count: 1 });
  driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: TEXT });
  if (end) driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
  await service.until(() => service.sessions.find(String(id), EVERYBODY, "view").lastSeq === driver.lastSeq);
};
const held = (service: Service): number => service.sessions.list(EVERYBODY).reduce((sum, { heldBytes }) => sum + heldBytes, 0);
const textOf = async (service: Service, id: number): Promise<unknown> => {
  const { body } = await service.ask("GET", `/sessions/${id}/statements/0`);
  return (body as { output: { data: Record<string, string> } | null }).output?.data["text/plain"];
};

test("sessions hold no more than the limit together; what was let go of is still answered", async () => {
  await using service = await Service.start();
  const [first, second] = [await service.ready(), await service.ready()];
  await submit(service, first.id, first.driver, { end: true });
  await submit(service, second.id, second.driver, { end: true });
  shrinkViews(service.sessions.list(EVERYBODY), 150_000);
  expect([first, second].map(({ id }) => service.sessions.find(String(id), EVERYBODY, "view").heldBytes > 100_000)).toEqual([false, true]);
  expect(await textOf(service, first.id)).toBe(TEXT);
  expect(await textOf(service, second.id)).toBe(TEXT);
});

test("what runs is let go of too, and told whole at its end", async () => {
  await using service = await Service.start({ limits: { viewsBytes: 50_000 } });
  const { id, driver } = await service.ready();
  await submit(service, id, driver, { end: false });
  await service.until(() => held(service) < 50_000);
  driver.emit("stream", { statement: 0, name: "stdout", via: "python", text: "y" });
  driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
  await service.until(() => service.sessions.find(String(id), EVERYBODY, "view").state === "idle");
  expect(await textOf(service, id)).toBe(`${TEXT}y`);
  const { body } = await service.ask("GET", `/sessions/${id}/statements/0`);
  expect((body as { code: string }).code).toBe("print()");
});
