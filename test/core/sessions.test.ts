import { describe, expect, test } from "vitest";
import { kernelIdOf } from "../../src/core/kernel-id.ts";
import { Service } from "../faces/service.ts";
import { draftOf } from "../launch/contract.ts";

describe("sessions of other servers", () => {
  test("are answered for as soon as they are told of, and take statements", async () => {
    await using service = await Service.start();
    const { launcher } = service;
    launcher.told.known(launcher.elsewhere(draftOf({ name: "theirs" })));
    expect(await service.ask("GET", "/sessions/theirs")).toMatchObject({ status: 200, body: { id: 0, state: "starting" } });
    expect((await service.ask("GET", "/sessions")).body).toMatchObject({ total: 1 });
    await service.ask("POST", "/sessions/0/statements", { body: { code: "1 + 1" } });
    expect(launcher.driver(0).requests.map(({ frame }) => frame)).toContain("submit");
  });

  test("that are not told of yet are asked for before anybody hears 404; known ones never are", async () => {
    await using service = await Service.start();
    const { launcher } = service;
    launcher.unheard.push(launcher.elsewhere(draftOf()), launcher.elsewhere(draftOf({ name: "fresh" })));
    expect((await service.ask("GET", "/sessions/0/state")).status).toBe(200);
    expect((await service.ask("POST", "/sessions/fresh/interrupt")).status).toBe(200);
    expect((await service.ask("GET", "/sessions/2")).status).toBe(404);
    expect(launcher.asked).toBe(3);
    for (const path of ["0", "1", "fresh", "fresh/state", "-1", "99999999999"]) await service.ask("GET", `/sessions/${path}`);
    expect(launcher.asked).toBe(3);
    // Told of it after all: it is the same session.
    const session = service.sessions.find("0", { name: null, remote: null }, "view");
    for (const claim of launcher.unheard) launcher.told.known(claim);
    expect(service.sessions.find("0", { name: null, remote: null }, "view")).toBe(session);
  });

  test("are found by the id of their kernel too, which is the same on every server", async () => {
    await using service = await Service.start();
    const { launcher } = service;
    const claim = launcher.elsewhere(draftOf());
    launcher.unheard.push(claim);
    expect((await service.ask("GET", `/api/kernels/${crypto.randomUUID()}`)).status).toBe(404);
    const id = kernelIdOf(claim);
    expect((await service.ask("GET", `/api/kernels/${id}`)).body).toMatchObject({ id });
    expect(launcher.asked).toBe(2);
    for (const path of [id, `${id}/interrupt`, "no-uuid"]) await service.ask("GET", `/api/kernels/${path}`);
    expect(launcher.asked).toBe(2);
  });

  test("may have the name of one that has ended here", async () => {
    await using service = await Service.start();
    const { launcher } = service;
    const { id } = await service.ready({ name: "alpha" });
    await service.ask("POST", `/sessions/${id}/stop`);
    launcher.unheard.push(launcher.elsewhere(draftOf({ name: "alpha" })));
    expect((await service.ask("GET", "/sessions/alpha")).body).toMatchObject({ id: 1 });
  });

  test("count against the limits, one's own only once", async () => {
    await using service = await Service.start({ limits: { maxSessions: 3 } });
    const { launcher } = service;
    launcher.told.known(launcher.elsewhere(draftOf()));
    const mine = await Promise.all([1, 2].map(() => service.ask("POST", "/sessions", { body: {} })));
    expect(mine.map(({ status }) => status)).toEqual([201, 201]);
    expect(await service.ask("POST", "/sessions", { body: {} })).toMatchObject({
      status: 400,
      body: { msg: expect.stringContaining("limit is 3") },
    });
  });

  test("end here as they were ended there, and what waited for them is answered", async () => {
    await using service = await Service.start();
    const { id } = await service.ready();
    const created = await service.ask("POST", `/sessions/${id}/statements`, { body: { code: "forever()" } });
    const held = service.ask("GET", `${created.headers["location"]}?wait=30s`);
    service.launcher.end(id, { state: "killed", reason: "it was deleted" });
    expect((await held).body).toMatchObject({ state: "available", output: { ename: "DriverLost" } });
    expect((await service.ask("GET", `/sessions/${id}`)).body).toMatchObject({
      state: "killed",
      log: ["Session ended (killed): it was deleted"],
    });
  });

  test("that were removed there are unknown here, and are not removed again", async () => {
    await using service = await Service.start();
    const { launcher } = service;
    const claim = launcher.elsewhere(draftOf());
    launcher.told.known(claim);
    launcher.told.gone({ ...claim, uid: "another" });
    expect((await service.ask("GET", "/sessions/0")).status).toBe(200);
    launcher.end(0, { state: "killed", reason: "it was deleted" });
    launcher.told.gone(claim);
    expect((await service.ask("GET", "/sessions/0")).status).toBe(404);
    expect(launcher.removed).toEqual([]);
  });

  test("may have statements that the link has not told of yet: the driver is asked", async () => {
    await using service = await Service.start();
    const { id, driver } = await service.ready();
    const before = driver.requests.length;
    const path = `/sessions/${id}/statements/0`;
    // Its record is on the way: the journal has it, this link does not yet.
    const record = { statement: 0, key: "k", code: "1", kind: "pyspark", origin: null, silent: false };
    driver.on("read", () => {
      driver.on("read", () => ({ result: { records: [], nextSeq: 1 } }));
      driver.emit("queued", record);
      return { result: { records: [{ frame: "record", seq: driver.lastSeq, atMs: 1, type: "queued", ...record }], nextSeq: 9 } };
    });
    expect((await service.ask("GET", path)).body).toMatchObject({ id: 0, state: "waiting" });
    expect((await service.ask("GET", `/sessions/${id}/statements/7`)).status).toBe(404);
    expect(driver.requests.slice(before).filter(({ frame }) => frame === "read")).toHaveLength(2);
  });
});
