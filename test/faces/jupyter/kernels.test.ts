import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Channels } from "../../kit/channels.ts";
import { retainedBytes } from "../../kit/memory.ts";
import { until } from "../../kit/until.ts";
import { Service } from "../service.ts";

const listen = (service: Service): Promise<string> => service.http.listen({ host: "127.0.0.1", port: 0 });
const kernelOf = async (service: Service, session: number): Promise<string> => {
  const { body } = await service.ask("POST", "/api/kernels", { body: { longwick: { session } } });
  return (body as { id: string }).id;
};

describe("kernels over HTTP", () => {
  test("one is there at once, with all that Jupyter Server's clients read", async () => {
    await using service = await Service.start();
    // Its driver is not there yet.
    service.launcher.listening = false;
    const created = await service.ask("POST", "/api/kernels", { body: { name: "spark" } });
    const model = created.body as { id: string };
    expect([created.status, created.headers["location"]]).toEqual([201, `/api/kernels/${model.id}`]);
    expect(model).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      name: "spark",
      last_activity: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/),
      execution_state: "starting",
      connections: 0,
      longwick: { session: 0, sessionName: null },
    });
    expect((await service.ask("GET", "/api/kernels")).body).toEqual([model]);
    expect((await service.ask("GET", `/api/kernels/${model.id}`)).body).toEqual(model);
  });

  test("one whose session was removed is forgotten when the next is started", async () => {
    await using service = await Service.start();
    const { id } = await service.ready();
    await kernelOf(service, id);
    const session = new WeakRef(service.sessions.find(String(id), { name: null, remote: null }, "view"));
    expect((await service.ask("DELETE", `/sessions/${id}`)).status).toBe(200);
    expect((await service.ask("POST", "/api/kernels")).status).toBe(201);
    await until("nothing holds the session", 5_000, async () => {
      await retainedBytes();
      return session.deref() === undefined ? true : undefined;
    });
  });

  test("an empty body starts the default kernel; a name nobody knows is refused in Jupyter's shape", async () => {
    await using service = await Service.start();
    expect((await service.ask("POST", "/api/kernels")).status).toBe(201);
    const { status, body } = await service.ask("POST", "/api/kernels", { body: { name: "scala" } });
    const message = "There is no kernelspec 'scala' here, only spark.";
    expect([status, body]).toEqual([404, { message, reason: message }]);
    const unknown = await service.ask("GET", "/api/kernels/8b1a9953-c461-4f2d-8c1d-000000000000");
    expect([unknown.status, unknown.body]).toMatchObject([404, { message: expect.stringContaining("Kernel does not exist") }]);
  });

  test("a notebook server's variables ask for sizes; others are named in the log, without values", async () => {
    await using service = await Service.start();
    const env = {
      ...{ KERNEL_USERNAME: "ann", KERNEL_LAUNCH_TIMEOUT: "40", KERNEL_WORKING_DIR: "/home/ann", KERNEL_DRIVER_MEMORY: "2g" },
      ...{ KERNEL_NUM_EXECUTORS: "3", KERNEL_SPARK_CONF: '{"spark.sql.shuffle.partitions":"8"}', KERNEL_SECRET: "hush" },
    };
    expect((await service.ask("POST", "/api/kernels", { body: { env } })).status).toBe(201);
    const [draft] = service.launcher.specs;
    expect(draft?.spec).toMatchObject({ driverMemory: "2g", numExecutors: 3, conf: { "spark.sql.shuffle.partitions": "8" } });
    expect(draft?.notes).toEqual([
      "The variable KERNEL_SECRET of the kernel's start is ignored.",
      "The driver does not work in the notebook's directory: it is no directory inside of those that `localPaths` allows.",
    ]);
    const bad = await service.ask("POST", "/api/kernels", { body: { env: { KERNEL_NUM_EXECUTORS: "many" } } });
    expect([bad.status, bad.body]).toMatchObject([400, { message: "numExecutors: 'many' is no whole number." }]);
    const unsafe = await service.ask("POST", "/api/kernels", { body: { longwick: { conf: { "spark.submit.deployMode": "cluster" } } } });
    expect(unsafe.status).toBe(400);
  });

  test("a notebook's directory is the driver's too where `localPaths` allows it, symbolic links and all; elsewhere the log says why not", async () => {
    const root = realpathSync(mkdtempSync(join(tmpdir(), "lw-paths-")));
    const [allowed, outside] = [join(root, "allowed"), join(root, "outside")];
    for (const directory of [allowed, outside, join(allowed, "ann")]) mkdirSync(directory);
    writeFileSync(join(allowed, "file"), "");
    symlinkSync(outside, join(allowed, "way-out"));
    symlinkSync(join(allowed, "ann"), join(outside, "way-in"));
    try {
      const asked = async (driversAreHere: boolean, KERNEL_WORKING_DIR: string) => {
        await using service = await Service.start({ jupyter: { paths: { driversAreHere, localDirs: [allowed], uploads: null } } });
        expect((await service.ask("POST", "/api/kernels", { body: { env: { KERNEL_WORKING_DIR } } })).status).toBe(201);
        const [draft] = service.launcher.specs;
        return [draft?.spec.kernel?.directory, ...(draft?.notes ?? [])];
      };
      const refused = [null, expect.stringContaining("`localPaths` allows")];
      expect(await asked(true, join(allowed, "ann"))).toEqual([join(allowed, "ann")]);
      expect(await asked(true, join(outside, "way-in"))).toEqual([join(allowed, "ann")]);
      for (const name of ["way-out", "..", "missing", "file", "ann/../../outside"])
        expect(await asked(true, `${allowed}/${name}`)).toEqual(refused);
      expect(await asked(true, `${allowed}-not`)).toEqual(refused);
      expect(await asked(true, "ann")).toEqual([null, expect.stringContaining("no absolute path")]);
      expect(await asked(false, join(allowed, "ann"))).toEqual([null, expect.stringContaining("drivers do not run on this machine")]);
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test("attaches to a running session by its name; shutting such a kernel down leaves the session", async () => {
    await using service = await Service.start();
    const { id } = await service.ready({ kind: "pyspark", name: "etl" });
    const { status, body } = await service.ask("POST", "/api/kernels", { body: { env: { KERNEL_SESSION: "etl" } } });
    expect([status, body]).toMatchObject([201, { execution_state: "idle", longwick: { session: id, sessionName: "etl" } }]);
    const kernel = (body as { id: string }).id;
    expect((await service.ask("DELETE", `/api/kernels/${kernel}`)).status).toBe(204);
    expect((await service.ask("GET", `/sessions/${id}`)).body).toMatchObject({ state: "idle" });
    const own = await service.ask("POST", "/api/kernels");
    const { id: ownKernel } = own.body as { id: string };
    expect((await service.ask("DELETE", `/api/kernels/${ownKernel}`)).status).toBe(204);
    expect((await service.ask("GET", `/api/kernels/${ownKernel}`)).status).toBe(404);
    expect((await service.ask("GET", "/sessions/1")).status).toBe(404);
  });

  test("each preset that the caller may choose is a kernelspec too", async () => {
    const limits = { sessionsPerUser: 0, driverMemory: null, driverCores: 0, executorMemory: null, executorCores: 0, numExecutors: 0 };
    const preset = { description: "", users: [], kind: null, idleTimeoutMs: null, ttlMs: null, limits };
    const large = { ...preset, name: "large", displayName: "Large, 8 executors", conf: { "spark.executor.instances": "8" } };
    await using service = await Service.start({ presets: [large] });
    const { body } = await service.ask("GET", "/api/kernelspecs");
    const { kernelspecs } = body as { kernelspecs: Record<string, { spec: { display_name: string } }> };
    expect(Object.entries(kernelspecs).map(([name, { spec }]) => [name, spec.display_name])).toEqual([
      ["spark", "Spark (PySpark)"],
      ["spark-large", "Spark (PySpark): Large, 8 executors"],
    ]);
    expect((await service.ask("POST", "/api/kernels", { body: { name: "spark-large" } })).body).toMatchObject({ name: "spark-large" });
    expect(service.launcher.specs[0]?.spec).toMatchObject({ preset: { name: "large" }, kernel: { name: "spark-large" } });
  });

  test("kernelspecs carry logos below the server's own path", async () => {
    await using service = await Service.start({ http: { basePath: "/spark" } });
    const { body } = await service.ask("GET", "/spark/api/kernelspecs");
    expect(body).toMatchObject({
      default: "spark",
      kernelspecs: {
        spark: { name: "spark", spec: { language: "python" }, resources: { "logo-svg": "/spark/kernelspecs/spark/logo-svg.svg" } },
      },
    });
    const logo = await service.ask("GET", "/spark/kernelspecs/spark/logo-64x64.png");
    expect([logo.status, logo.headers["content-type"], logo.bytes.subarray(1, 4).toString()]).toEqual([200, "image/png", "PNG"]);
    expect((await service.ask("GET", "/spark/kernelspecs/spark/..%2f..%2fpackage.json")).status).toBe(404);
    expect((await service.ask("GET", "/spark/api")).body).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
    expect((await service.ask("GET", "/spark/api/status")).body).toMatchObject({ kernels: 0, connections: 0 });
  });
});

describe("who may open a kernel's channels", () => {
  const withTokens = async (use: (service: Service, url: string, kernel: string) => Promise<void>) => {
    const directory = mkdtempSync(join(tmpdir(), "lw-tokens-"));
    const line = (user: string) => `${createHash("sha256").update(`${user}-token`).digest("hex")} ${user}\n`;
    writeFileSync(join(directory, "tokens"), line("ann") + line("bob"));
    try {
      await using service = await Service.start({ tokensFile: join(directory, "tokens") });
      const { body } = await service.ask("POST", "/api/kernels", { headers: { authorization: "token ann-token" } });
      await use(service, await listen(service), (body as { id: string }).id);
    } finally {
      rmSync(directory, { recursive: true });
    }
  };

  test("the owner, by header of either scheme or by the address; nobody else", () =>
    withTokens(async (_service, url, kernel) => {
      for (const options of [
        { headers: { authorization: "token ann-token" } },
        { headers: { authorization: "Bearer ann-token" } },
        { query: { token: "ann-token" } },
        { query: { token: "ann-token" }, headers: { authorization: "token " } },
      ])
        (await Channels.open(url, kernel, options)).close();
      expect((await Channels.refused(url, kernel)).status).toBe(401);
      expect((await Channels.refused(url, kernel, { query: { token: "guess" } })).status).toBe(401);
      const other = await Channels.refused(url, kernel, { query: { token: "bob-token" } });
      expect(other).toMatchObject({ status: 403, body: { message: expect.stringContaining("bob") } });
    }));

  test("a token in the address opens no other door", () =>
    withTokens(async (service) => {
      expect((await service.ask("GET", "/api/kernels?token=ann-token")).status).toBe(401);
      expect(JSON.stringify(service.lines)).not.toContain("ann-token");
    }));

  test("no page of another origin, and no name that is not the server's", async () => {
    await using service = await Service.start();
    const { id } = await service.ready();
    const url = await listen(service);
    const kernel = await kernelOf(service, id);
    expect((await Channels.refused(url, kernel, { headers: { origin: "http://evil.example" } })).status).toBe(403);
    expect((await Channels.refused(url, kernel, { headers: { host: "evil.example" } })).status).toBe(403);
    (await Channels.open(url, kernel, { headers: { origin: url } })).close();
    expect((await Channels.refused(url, "8b1a9953-c461-4f2d-8c1d-000000000000")).status).toBe(404);
  });
});
