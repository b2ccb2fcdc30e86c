import { expect, test } from "vitest";
import type { Channels } from "../../kit/channels.ts";
import { cells, onStage, run, type Stage } from "./stage.ts";

/** Cells that the server holds because a driver that runs cannot be reached. */

const cut = async ({ service, driver }: Stage): Promise<void> => {
  const [session] = service.sessions.list({ name: null, remote: null });
  driver.listening = false;
  driver.cut();
  await service.until(() => session?.up === false);
};

const failureOf = async (channels: Channels, id: string): Promise<readonly unknown[]> => {
  const { content } = (await channels.idle(id)).find(({ type }) => type === "execute_reply") ?? {};
  return [content?.["status"], content?.["ename"]];
};

test("run when it can be reached again, in order", () =>
  onStage(async (stage) => {
    const { service, driver, open } = stage;
    const channels = await open();
    await cut(stage);
    for (const code of ["first", "second"]) channels.execute(code);
    await channels.idle(channels.send("shell", "kernel_info_request", {}));
    driver.listening = true;
    await service.until(() => cells(driver) === 2);
    expect(driver.requests.filter(({ frame }) => frame === "cell").map(({ code }) => code)).toEqual(["first", "second"]);
  }));

test("are told when the server ends, unless their client sends them again by itself", () =>
  onStage(async (stage) => {
    const { service, driver, open } = stage;
    const [plain, page, counting] = [await open(), await open(), await open({ query: { longwick: "1" } })];
    await page.idle(page.send("shell", "longwick_cells_request", { cells: [] }));
    driver.on("cell", () => null);
    const sent = plain.execute("sent");
    await service.until(() => cells(driver) === 1);
    await cut(stage);
    const [held, found, counted] = [plain.execute("held"), page.execute("found"), counting.execute("counted")];
    for (const channels of [plain, page, counting]) await channels.idle(channels.send("shell", "kernel_info_request", {}));
    await service.http.close(1_000);
    expect(await failureOf(plain, sent)).toEqual(["error", "Unanswered"]);
    expect(await failureOf(plain, held)).toEqual(["error", "NotRun"]);
    for (const channels of [page, counting]) await channels.until("it is closed", () => channels.closed !== null);
    expect([page.closed, page.of(found), counting.of(counted)]).toEqual([1012, [], []]);
  }));

test("are nobody's concern when the driver has them: the next server tells of those", () =>
  onStage(async ({ service, driver, open }) => {
    const channels = await open();
    const id = channels.execute("loop");
    await service.until(() => cells(driver) === 1);
    run(driver, 0, ["a"], false);
    await channels.until("a is there", () => channels.shown(id) === "a");
    await service.http.close(1_000);
    await channels.until("it is closed", () => channels.closed !== null);
    expect(channels.of(id).map(({ type }) => type)).not.toContain("execute_reply");
  }));

test("are dropped by an interrupt and a restart, which say that they did not reach the driver", () =>
  onStage(async (stage) => {
    const { service, driver, kernel, open } = stage;
    const channels = await open();
    await cut(stage);
    for (const verb of ["interrupt", "restart"]) {
      const id = channels.execute("held");
      await channels.idle(channels.send("shell", "kernel_info_request", {}));
      const { status, body } = await service.ask("POST", `/api/kernels/${kernel}/${verb}`);
      expect([status, body]).toEqual([503, { message: expect.stringContaining("cannot be reached"), reason: expect.anything() }]);
      expect(await failureOf(channels, id)).toEqual(["aborted", "Aborted"]);
      const asked =
        verb === "restart"
          ? channels.send("control", "shutdown_request", { restart: true })
          : channels.send("control", "interrupt_request", {});
      const reply = (await channels.idle(asked)).find(({ channel }) => channel === "control");
      expect(reply?.content["status"]).toBe("error");
    }
    expect(cells(driver)).toBe(0);
  }));
