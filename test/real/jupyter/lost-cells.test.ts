import { expect, test } from "vitest";
import { Service } from "../../faces/service.ts";
import { runCell, startKernel } from "../../kit/jupyter.ts";

test("what waited for a driver in a server that died is not waited for any more, and the next cell runs", { timeout: 60_000 }, async () => {
  const first = await Service.start();
  first.launcher.listening = false;
  const url = await first.http.listen({ host: "127.0.0.1", port: 0 });
  const { kernel, manager } = await startKernel(url);
  // It asks at each connection, and leaves the rejection to nobody when it gives up what it waits for.
  const ask = kernel.requestKernelInfo.bind(kernel);
  kernel.requestKernelInfo = () => ask().catch(() => undefined);
  try {
    const lost = runCell(kernel, "1").then(
      () => "answered",
      (error: Error) => error.message,
    );
    const [draft] = first.launcher.specs;
    if (draft === undefined) throw new Error("no session");
    await first[Symbol.asyncDispose]();

    await using second = await Service.start();
    second.launcher.listening = false;
    // As the next server reads it back; it was made before that one began.
    second.launcher.told.known({ ...second.launcher.elsewhere(draft), createdMs: Date.now() - 60_000 });
    await second.http.listen({ host: "127.0.0.1", port: Number(new URL(url).port) });
    expect(await lost).toMatch(/Canceled/);

    const ran = runCell(kernel, "2");
    const driver = second.launcher.driver(0);
    driver.on("cell", ({ key, code, kind, origin, silent }) => {
      driver.emit("queued", { statement: 0, key, code, kind, origin, silent });
      driver.emit("started", { statement: 0, count: 1 });
      driver.emit("finished", { statement: 0, outcome: "ok", rung: null });
      return { result: { statement: 0 } };
    });
    driver.listening = true;
    driver.emit("interpreter", { phase: "ready", reason: null, facts: null });
    expect((await ran).reply).toMatchObject({ status: "ok", execution_count: 1 });
  } finally {
    kernel.dispose();
    manager.dispose();
  }
});
