import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { installKernel } from "../kit/kernelspec.ts";
import { Livy, textOf } from "../kit/livy.ts";
import { clientsPython } from "../kit/python.ts";
import { type Server, startServer } from "../kit/server.ts";
import { until } from "../kit/until.ts";

const CASES = fileURLToPath(new URL("./jupyter", import.meta.url));

interface Plan {
  readonly conf: Readonly<Record<string, { readonly value: string; readonly source: string }>>;
  readonly preset: string | null;
}

const TOML = `
defaultPreset = "small"
[sparkConf]
spark.sql.shuffle.partitions = 5
spark.from.configuration = "configuration"
[presets.small]
description = "For looking around."
image = "registry.example/unused:1"
driverMemory = "768m"
conf.spark.sql.shuffle.partitions = 3
conf.spark.from.preset = "preset"
[presets.small.limits]
driverMemory = "1g"
[presets.marked]
driverMemory = "700m"
`;

describe("a server with presets", () => {
  const directory = mkdtempSync(join(tmpdir(), "lw-"));
  const file = join(directory, "presets.toml");
  let server: Server;
  let livy: Livy;

  beforeAll(async () => {
    writeFileSync(file, TOML);
    server = await startServer({ flags: ["--config", file] });
    livy = new Livy(server.url);
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test("a dry run says what Spark then has, and a changed configuration changes nothing of it", { timeout: 240_000 }, async () => {
    const body = {
      kind: "pyspark",
      name: "planned",
      driverMemory: "900m",
      conf: { "spark.from.user": "user", "spark.from.preset": "user" },
    };
    const plan = await livy.expect<Plan>(200, "POST", "/sessions?dryRun=true", body);
    expect(await livy.expect(200, "GET", "/sessions")).toMatchObject({ total: 0 });
    expect(plan.preset).toBe("small");
    expect(plan.conf).toMatchObject({
      "spark.app.name": { value: "planned", source: "field name" },
      "spark.driver.memory": { value: "900m", source: "field driverMemory" },
      "spark.from.configuration": { value: "configuration", source: "configuration" },
      "spark.from.preset": { value: "user", source: "user" },
      "spark.from.user": { value: "user", source: "user" },
      "spark.master": { value: "local[*]", source: "server" },
      "spark.sql.shuffle.partitions": { value: "3", source: "preset small" },
      "spark.scheduler.minRegisteredResourcesRatio": { value: "0", source: "server" },
      "spark.executor.failuresValidityInterval": { value: "10m", source: "server" },
      "spark.submit.deployMode": { value: "client", source: "server" },
    });
    const { id } = await livy.ready(body);
    const sparkHas = async (session: number): Promise<Record<string, string>> =>
      JSON.parse(textOf(await livy.run(session, "import json; print(json.dumps(dict(spark.sparkContext.getConf().getAll())))")));
    const planned = Object.fromEntries(Object.entries(plan.conf).map(([key, { value }]) => [key, value]));
    const has = await sparkHas(id);
    // What Spark is asked to choose, it has chosen by then.
    const { "spark.ui.port": port, ...rest } = planned;
    expect([port, has]).toEqual(["0", expect.objectContaining(rest)]);

    writeFileSync(file, TOML.replaceAll("small", "tiny").replace("partitions = 3", "partitions = 9"));
    await server.restart();
    expect(server.written).toContain("presets.tiny: drivers are processes here; what is for pods has no effect: image");
    expect(await livy.inState(id, ["idle"])).toMatchObject({ driverMemory: "900m", longwick: { preset: "small" } });
    expect((await sparkHas(id))["spark.sql.shuffle.partitions"]).toBe("3");
    expect(await livy.expect<Plan>(200, "POST", "/sessions?dryRun=true", {})).toMatchObject({
      preset: "tiny",
      conf: { "spark.driver.memory": { value: "768m", source: "preset tiny" }, "spark.sql.shuffle.partitions": { value: "9" } },
    });
    await livy.delete(id);
  });

  test("a native kernel that was installed for a preset has it", { timeout: 240_000 }, async () => {
    const own = { LONGWICK_URL: server.url, LONGWICK_RUNTIME_DIR: join(directory, "kernels") };
    const env = { ...installKernel(directory, "team", own, "marked"), PYTHONPATH: CASES };
    const script = `import kernel_cases as k
m = k.started(); c = k.connected(m)
print(k.run(c, "print(sc.getConf().get('spark.driver.memory'))", 120)[1].text(), end="")
c.stop_channels(); m.shutdown_kernel()`;
    const { stdout } = await promisify(execFile)(await clientsPython(), ["-c", script], { env, timeout: 200_000 });
    expect(stdout).toBe("700m\n");
  });

  test("a session over a limit is not started", async () => {
    // A kernel's process leaves before its session where that takes long.
    const none = async () => ((await livy.expect<{ total: number }>(200, "GET", "/sessions")).total === 0 ? true : undefined);
    await until("no session is left", 60_000, none);
    const answer = await livy.ask("POST", "/sessions", { driverMemory: "2g" });
    expect(answer).toMatchObject({ status: 400, body: { msg: expect.stringMatching(/driverMemory 2g is over preset '\w+' limit of 1g/) } });
    expect(await livy.expect(200, "GET", "/sessions")).toMatchObject({ total: 0 });
  });
});
