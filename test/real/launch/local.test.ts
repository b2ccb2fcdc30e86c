import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { onSession, type SessionEvent } from "../../../src/core/events.ts";
import { type Claim, type Launcher, PLANNED } from "../../../src/core/ports.ts";
import { tryPresets } from "../../../src/presets.ts";
import { LocalSite, settingsWithoutSpark } from "../../kit/local-site.ts";
import { claimsOf, draftOf, END, firstWords, launcherContract, NO_LIMITS, presetOf, reach } from "../../launch/contract.ts";

launcherContract("local", () => LocalSite.make());

const soon = () => AbortSignal.timeout(20_000);

describe("local", { timeout: 60_000 }, () => {
  let site: LocalSite;
  const launchers: Launcher[] = [];
  const open = async (): Promise<Launcher> => {
    const launcher = await site.open();
    launchers.push(launcher);
    return launcher;
  };
  beforeEach(async () => {
    site = await LocalSite.make();
  });
  afterEach(async () => {
    await Promise.all(launchers.splice(0).map((launcher) => launcher.close()));
    await site.dispose();
  });

  /** A session whose driver runs, left by a server that closed. */
  const leftRunning = async (): Promise<Claim> => {
    const launcher = await open();
    const claim = await launcher.claim(draftOf({ name: "left" }), soon());
    const workload = launcher.launch(claim);
    await reach(workload, "running");
    await firstWords(workload);
    await launcher.close();
    return claim;
  };
  const damage = async (path: string) => truncate(path, Math.floor((await stat(path)).size / 2));

  test("a plan is what the driver is told and how its process is started", async () => {
    site = await LocalSite.make({
      sparkConf: { "spark.b": "2" },
      defaultMaster: "local[1]",
      environment: { ...process.env, DB_PASSWORD: "hush" },
    });
    const launcher = await open();
    const jar = join(site.root, "a.jar");
    await writeFile(jar, "");
    const draft = draftOf({ jars: [pathToFileURL(jar).href], conf: { "spark.a": "1" } });
    const { conf, jars, workload: planned } = await launcher.plan(draft, soon());
    const claim = await launcher.claim(draft, soon());
    const workload = launcher.launch(claim);
    await reach(workload, "running");
    await firstWords(workload);
    const told = JSON.parse(await readFile(site.session(0, "driver.json"), "utf8"));
    expect(Object.fromEntries(Object.entries(conf).map(([key, { value }]) => [key, value]))).toEqual(told.conf);
    expect([jars, conf["spark.master"]]).toEqual([told.jars, { value: "local[1]", source: "server" }]);
    const supervisor = await site.supervisorPid(0);
    const [command, environment] = await Promise.all(
      ["cmdline", "environ"].map(async (file) => (await readFile(`/proc/${supervisor}/${file}`, "utf8")).split("\0").slice(0, -1)),
    );
    // Which Python it is may be decided by a wrapper of that name.
    expect(planned["command"]).toEqual(["python3", ...(command ?? []).slice(-3)]);
    const { LONGWICK_SESSION: uid, SPARK_LOCAL_IP, ...shared } = planned["environment"] as Record<string, string>;
    expect([uid, SPARK_LOCAL_IP, told.env]).toEqual([PLANNED.uid, "127.0.0.1", { SPARK_LOCAL_IP: "127.0.0.1" }]);
    expect(environment).toEqual(expect.arrayContaining(Object.entries(shared).map(([name, value]) => `${name}=${value}`)));
    expect(JSON.stringify(planned)).not.toContain("hush");
  });

  test("a preset that is over its own limits is refused when it is tried out, and nothing is left of the try", async () => {
    const launcher = await open();
    const limits = { ...NO_LIMITS, driverMemory: "1g" };
    const small = presetOf({ name: "small", conf: { "spark.driver.memory": "1g" }, limits });
    const large = presetOf({ name: "large", conf: { "spark.driver.memory": "2g" }, limits });
    await tryPresets([small], [], launcher);
    await expect(tryPresets([small, large], [], launcher)).rejects.toThrow(
      /^presets\.large: spark\.driver\.memory 2g is over preset 'large' limit of 1g$/,
    );
    expect(await claimsOf(launcher, soon())).toEqual([]);
  });

  test("what it keeps is for its owner alone, and secrets go with the end", async () => {
    const launcher = await open();
    const claim = await launcher.claim(draftOf({ conf: { "spark.ssl.keyPassword": "hush" } }), soon());
    const workload = launcher.launch(claim);
    await reach(workload, "running");
    const mode = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);
    expect(await mode(site.settings.runtimeDir)).toBe("700");
    expect(await mode(site.session(0))).toBe("700");
    expect(await mode(site.session(0, "work"))).toBe("700");
    for (const name of await readdir(site.session(0))) {
      if (name.endsWith(".json") || name === "driver.out") expect([name, await mode(site.session(0, name))]).toEqual([name, "600"]);
    }
    expect(await mode(join(site.settings.runtimeDir, "master.key"))).toBe("600");
    expect(await readFile(site.session(0, "driver.json"), "utf8")).toContain("hush");
    expect(await readFile(site.session(0, "claim.json"), "utf8")).not.toContain("hush");

    await workload.stop(10_000);
    await launcher.conclude(claim, END);
    const { stdout } = await promisify(execFile)("grep", ["-rl", "hush", site.settings.runtimeDir]).catch(() => ({ stdout: "" }));
    expect(stdout).toBe("");
  });

  test("the supervisor understands all it is told", async () => {
    const launcher = await open();
    const asked = {
      name: "n",
      jars: ["file:/a.jar"],
      driverMemory: "2g",
      ttlMs: 1_000_000,
      idleTimeoutMs: 2_000_000,
      heartbeatTimeoutMs: 60_000,
    };
    const workload = launcher.launch(await launcher.claim(draftOf(asked), soon()));
    await reach(workload, "running");
    const program =
      "import json, sys; from spark_shim.config import read_config; c = read_config(sys.argv[1])._asdict(); c['key'] = c['key'].hex(); print(json.dumps(c))";
    const { python, shimDir } = site.settings;
    const { stdout } = await promisify(execFile)(python, ["-c", program, site.session(0, "driver.json")], {
      env: { ...process.env, PYTHONPATH: shimDir },
    });
    const told: Record<string, unknown> = JSON.parse(stdout);
    expect(told).toMatchObject({
      id: 0,
      key: Buffer.from(workload.key).toString("hex"),
      listen: site.session(0, "driver.sock"),
      journal: site.session(0, "journal"),
      termination: site.session(0, "termination.json"),
      work_dir: site.session(0, "work"),
      name: "n",
      jars: ["file:/a.jar"],
      conf: { "spark.driver.memory": "2g", "spark.app.name": "n" },
      ttl_ms: 1_000_000,
      idle_timeout_ms: 2_000_000,
      heartbeat_timeout_ms: 60_000,
      orphan_timeout_ms: site.settings.orphanTimeoutMs,
      sql_row_limit: 1_000,
      queue_limit: 1_000,
      queue_limit_bytes: site.settings.queueLimitBytes,
      journal_limit_bytes: site.settings.journalLimitBytes,
      statement_limit_bytes: site.settings.statementLimitBytes,
      memory_limit_bytes: site.settings.memoryLimitBytes,
    });
    const keys = Object.keys(JSON.parse(await readFile(site.session(0, "driver.json"), "utf8")));
    // What a driver in a pod, or a batch's, is told besides.
    const ofOthers = ["application", "echo", "termination_message", "tls"];
    expect(keys.map((key) => key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)).sort()).toEqual(
      Object.keys(told)
        .filter((name) => !ofOthers.includes(name))
        .sort(),
    );
  });

  test("two servers do not share one runtime directory", async () => {
    const launcher = await open();
    await expect(site.open()).rejects.toThrow(`another server (process ${process.pid}) uses the runtime directory`);
    await launcher.close();
    await (await site.open()).close();
  });

  test("a server killed with 9 leaves its drivers to the next, which finds them by what was written", async () => {
    const script = fileURLToPath(new URL("../../kit/launching-server.ts", import.meta.url));
    const { environment: _ours, ...settings } = site.settings;
    const server = spawn(process.execPath, [script, JSON.stringify(settings)], { stdio: ["ignore", "pipe", "inherit"] });
    const [line] = await once(createInterface(server.stdout), "line", { signal: soon() });
    const claim: Claim = JSON.parse(String(line));
    server.kill("SIGKILL");
    await once(server, "exit");

    const launcher = await open();
    expect(await claimsOf(launcher, soon())).toEqual([claim]);
    const pid = await site.supervisorPid(0);
    const workload = launcher.launch(claim);
    await reach(workload, "running");
    expect(await firstWords(workload)).toMatchObject({ frame: "challenge" });
    expect(await site.supervisorPid(0)).toBe(pid);
    await workload.stop(10_000);
    expect(await site.running(claim)).toBe(0);
  });

  test.each([
    ["gone: the server was killed before it wrote who the supervisor is", (path: string) => rm(path)],
    ["torn", damage],
    ["only half done", (path: string) => writeFile(path, JSON.stringify({ process: null, boot: "", restartsMs: [] }))],
  ])("a driver whose supervisor.json is %s is found by its environment", async (_how, harm) => {
    const claim = await leftRunning();
    const pid = await site.supervisorPid(0);
    await harm(site.session(0, "supervisor.json"));
    const launcher = await open();
    const workload = launcher.launch(claim);
    await reach(workload, "running");
    expect(await site.supervisorPid(0)).toBe(pid);
    expect(await firstWords(workload)).toMatchObject({ frame: "challenge" });
  });

  test("a torn claim is listed as ended with the reason, told of, and what it left running is gone", async () => {
    const claim = await leftRunning();
    await damage(site.session(0, "claim.json"));
    const events: SessionEvent[] = [];
    const unsubscribe = onSession((event) => events.push(event));
    const launcher = await open();
    const [found] = await claimsOf(launcher, soon());
    unsubscribe();
    const reason = "The session's claim cannot be read back from the runtime directory: it is not JSON.";
    expect(found).toMatchObject({ id: 0, uid: claim.uid, owner: null, end: { state: "dead", reason, logTail: [reason] } });
    expect(events).toEqual([{ session: 0, event: "fault", detail: reason }]);
    expect(await site.running(claim)).toBe(0);
    if (found === undefined) throw new Error("not found");
    expect(launcher.launch(found).phase).toMatchObject({ phase: "ended", reason });
    // Its name is free, its id is not.
    expect(await launcher.claim(draftOf({ name: "left" }), soon())).toMatchObject({ id: 1 });
    await launcher.remove(found);
    expect((await claimsOf(launcher, soon())).map((left) => left.id)).toEqual([1]);
  });

  test("a claim torn beyond its uid still ends its supervisor", async () => {
    const claim = await leftRunning();
    await damage(site.session(0, "claim.json"));
    await damage(site.session(0, "driver.json"));
    const launcher = await open();
    expect(await claimsOf(launcher, soon())).toMatchObject([{ id: 0, end: { state: "dead" } }]);
    await expect.poll(() => site.running(claim), { timeout: 10_000 }).toBe(0);
  });

  test("a torn end is an end all the same", async () => {
    const first = await open();
    const claim = await first.claim(draftOf(), soon());
    await first.conclude(claim, END);
    await first.close();
    await damage(site.session(0, "end.json"));
    const second = await open();
    expect(await claimsOf(second, soon())).toMatchObject([
      { id: 0, end: { state: "dead", reason: expect.stringContaining("end cannot be read") } },
    ]);
  });

  test("what a claim left that was never finished goes, its id stays used and its name free", async () => {
    const first = await open();
    await first.claim(draftOf(), soon());
    await first.close();
    await mkdir(site.session(1));
    await writeFile(site.session(1, "spec.json"), "{");
    const second = await open();
    expect((await claimsOf(second, soon())).map((claim) => claim.id)).toEqual([0]);
    expect(await readdir(dirname(site.session(0)))).toEqual(["0"]);
    expect((await second.claim(draftOf(), soon())).id).toBe(2);
  });

  test("a lost mark costs no id that is still there", async () => {
    const first = await open();
    for (let count = 0; count < 3; count++) await first.claim(draftOf(), soon());
    await first.close();
    await writeFile(join(site.settings.runtimeDir, "next-id"), "");
    const second = await open();
    expect((await second.claim(draftOf(), soon())).id).toBe(3);
  });

  test("a session from before the machine's restart has ended", async () => {
    const claim = await leftRunning();
    const path = site.session(0, "supervisor.json");
    const file = JSON.parse(await readFile(path, "utf8"));
    process.kill(file.process.pid, "SIGKILL");
    await expect.poll(() => site.running(claim), { timeout: 10_000 }).toBe(0);
    await writeFile(path, JSON.stringify({ ...file, boot: "earlier", process: { ...file.process, boot: "earlier" } }));
    const launcher = await open();
    const ended = await reach(launcher.launch(claim), "ended");
    expect(ended).toMatchObject({ state: "dead", reason: "The machine was restarted while the session ran." });
  });

  test("one that crashed while no server ran is started again, with its journal", async () => {
    const claim = await leftRunning();
    await site.crash(claim);
    const launcher = await open();
    const workload = launcher.launch(claim);
    await reach(workload, "running");
    expect(await firstWords(workload)).toMatchObject({ frame: "challenge" });
  });

  test("a supervisor that does not listen to signals is killed after its grace", async () => {
    const launcher = await open();
    const claim = await launcher.claim(draftOf(), soon());
    const workload = launcher.launch(claim);
    await reach(workload, "running");
    await firstWords(workload);
    process.kill(await site.supervisorPid(0), "SIGSTOP");
    const startedMs = performance.now();
    await workload.stop(300);
    expect(performance.now() - startedMs).toBeGreaterThan(290);
    expect(workload.phase).toMatchObject({ phase: "ended", state: "killed" });
    expect(await site.running(claim)).toBe(0);
  });

  test("stragglers are swept: daemons of the session, and their children that hide their environment", async () => {
    const launcher = await open();
    const claim = await launcher.claim(draftOf(), soon());
    const workload = launcher.launch(claim);
    await reach(workload, "running");
    const daemon = spawn("sh", ["-c", "env -i sleep 300 & exec sleep 300"], {
      detached: true,
      stdio: "ignore",
      env: { ...process.env, LONGWICK_SESSION: claim.uid },
    });
    const bystander = spawn("sleep", ["300"], {
      stdio: "ignore",
      env: { ...process.env, OTHER: `LONGWICK_SESSION=${claim.uid}`, LONGWICK_SESSION: `${claim.uid}0` },
    });
    await expect.poll(() => site.running(claim), { timeout: 10_000 }).toBeGreaterThan(2);
    const daemonGone = once(daemon, "exit");
    await workload.stop(10_000);
    await daemonGone;
    expect(await site.running(claim)).toBe(0);
    expect(bystander.exitCode).toBeNull();
    bystander.kill();
  });

  test("a runtime directory too deep for a socket's address works, and leaves no socket behind", async () => {
    const runtimeDir = join(site.root, "a".repeat(60), "b".repeat(60));
    Object.assign(site, { settings: await settingsWithoutSpark(site.root, runtimeDir) });
    const launcher = await open();
    const claim = await launcher.claim(draftOf(), soon());
    const workload = launcher.launch(claim);
    await reach(workload, "running");
    expect(await firstWords(workload)).toMatchObject({ frame: "challenge" });
    const told: { listen: { unix: string } } = JSON.parse(await readFile(site.session(0, "driver.json"), "utf8"));
    expect(told.listen.unix.length).toBeLessThan(104);
    expect((await stat(dirname(told.listen.unix))).mode & 0o777).toBe(0o700);
    expect((await stat(site.session(0, "driver.sock"))).isSocket()).toBe(true);
    await workload.stop(10_000);
    await launcher.conclude(claim, END);
    await launcher.remove(claim);
    await expect(stat(told.listen.unix)).rejects.toThrow("ENOENT");
  });

  test("a damaged master key stops the server, and is not replaced", async () => {
    await (await open()).close();
    const path = join(site.settings.runtimeDir, "master.key");
    await truncate(path, 7);
    await expect(site.open()).rejects.toThrow(/is not a key of 32 bytes/);
    expect((await stat(path)).size).toBe(7);
  });
});
