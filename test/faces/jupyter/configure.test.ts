import { describe, expect, test } from "vitest";
import { Channels } from "../../kit/channels.ts";
import { Service } from "../service.ts";

/** A kernel that was started as one, whose driver is ready. */
const started = async (service: Service, more: object = {}): Promise<{ kernel: string; channels: Channels }> => {
  const { body } = await service.ask("POST", "/api/kernels", { body: { longwick: { name: "etl", conf: { "spark.a": "1" }, ...more } } });
  const { id: kernel } = body as { id: string };
  makeReady(service, 0);
  const channels = await Channels.open(await service.http.listen({ host: "127.0.0.1", port: 0 }), kernel);
  await channels.until("the driver is up", (received) => received.some(({ content }) => content["execution_state"] === "idle"));
  return { kernel, channels };
};

/** The session's driver takes cells, and each ends at once. */
const makeReady = (service: Service, session: number): void => {
  const driver = service.launcher.driver(session);
  driver.on("cell", ({ key, code, kind, origin, silent }) => {
    const statement = driver.statements.size;
    driver.statements.set(String(key), statement);
    driver.emit("queued", { statement, key, code, kind, origin, silent });
    driver.emit("started", { statement, count: statement + 1 });
    driver.emit("finished", { statement, outcome: "ok", rung: null });
    return { result: { statement } };
  });
  driver.emit("interpreter", { phase: "ready", reason: null, facts: null });
};

const replyOf = async (channels: Channels, id: string) => (await channels.idle(id)).find(({ type }) => type === "execute_reply")?.content;

describe("%%configure", () => {
  test("gives the kernel a new session with what was asked for over what was; cells behind it run there", async () => {
    await using service = await Service.start();
    const { kernel, channels } = await started(service);
    expect(await replyOf(channels, channels.execute("1"))).toMatchObject({ status: "ok" });
    const configured = channels.execute('%%configure -f\n{"driverMemory": "3g", "conf": {"spark.b": "2"}}');
    const behind = channels.execute("2");
    await service.until(() => service.launcher.drivers.length === 2);
    expect((await service.ask("GET", `/api/kernels/${kernel}`)).body).toMatchObject({ id: kernel });
    makeReady(service, 1);
    expect(await replyOf(channels, configured)).toMatchObject({ status: "ok" });
    expect(await replyOf(channels, behind)).toMatchObject({ status: "ok", execution_count: 1 });
    expect(service.launcher.specs[1]?.spec).toMatchObject({
      ...{ name: "etl", driverMemory: "3g", conf: { "spark.a": "1", "spark.b": "2" } },
      kernel: { id: kernel, name: "spark" },
    });
    expect((await service.ask("GET", "/api/kernels")).body).toMatchObject([{ id: kernel, longwick: { session: 1 } }]);
    expect((await service.ask("GET", "/sessions/1")).body).toMatchObject({ longwick: { clients: [{ face: "jupyter" }] } });
    expect(channels.received.map(({ content }) => content["execution_state"])).not.toContain("dead");
    channels.close();
  });

  test("names what it leaves out because a secret in it is not known here, and takes nothing shown for a secret", async () => {
    await using service = await Service.start();
    const jars = ["https://ada:hush@host/x.jar", "https://host/y.jar"];
    const conf = { "spark.a": "1", "spark.my.password": "hush", "spark.your.password": "hush" };
    const { channels } = await started(service, { jars, conf });
    await channels.idle(channels.execute("1"));
    const configured = channels.execute('%%configure -f\n{"conf": {"spark.your.password": "new"}}');
    await service.until(() => service.launcher.drivers.length === 2);
    makeReady(service, 1);
    const answers = await channels.idle(configured);
    expect(answers.find(({ type }) => type === "stream")?.content).toEqual({
      name: "stderr",
      text: "Left out, since secrets are not kept; give it again if it is needed: spark.my.password, jars https://*********(redacted)@host/x.jar\n",
    });
    expect(service.launcher.specs[1]?.spec).toMatchObject({
      jars: ["https://host/y.jar"],
      conf: { "spark.a": "1", "spark.your.password": "new" },
    });
    expect(service.launcher.specs[1]?.spec.conf).not.toHaveProperty("spark.my.password");
    channels.close();
  });

  test.each([
    ["%%configure\n{}", "please include the -f argument"],
    ["%%configure -x\n{}", "knows -f (--force) alone, not -x"],
    ["%%configure -f\n{driverMemory: 1}", "Could not parse JSON object from input '{driverMemory: 1}'"],
    ["%%configure -f\n[]", "needs a JSON object"],
    ['%%configure -f\n{"driverMemory": "much"}', "Invalid driverMemory: much"],
    ['%%configure -f\n{"conf": {"spark.submit.deployMode": "cluster"}}', "Blacklisted"],
  ])("says of %j what is wrong, and leaves the session as it is", async (code, said) => {
    await using service = await Service.start();
    const { channels } = await started(service);
    await channels.idle(channels.execute("1"));
    expect(await replyOf(channels, channels.execute(code))).toMatchObject({
      ...{ status: "error", ename: "ConfigureError", evalue: expect.stringContaining(said) },
    });
    expect(await replyOf(channels, channels.execute("2"))).toMatchObject({ status: "ok", execution_count: 2 });
    expect(service.launcher.drivers).toHaveLength(1);
    channels.close();
  });
});
