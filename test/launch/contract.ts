import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import type { Claim, ClaimDraft, Launcher, SessionEnd, Workload } from "../../src/core/ports.ts";
import type { Preset } from "../../src/core/presets.ts";
import { type Application, NO_SPEC, type PresetLimits, type SessionSpec } from "../../src/core/spec.ts";
import type { WorkloadPhase } from "../../src/core/states.ts";
import { FrameChannel, type WireFrame } from "../../src/protocol/codec.ts";
import { PROTOCOL_VERSIONS } from "../../src/protocol/frames.ts";

/** A place where a launcher works, that outlives each launcher opened on it. */
export interface LaunchSite {
  /** Opens a launcher as a server's start does; the one before must be closed or killed. */
  open(): Promise<Launcher>;
  /** As `open`, but what starts a driver is broken: its workloads cannot run. */
  openBroken(): Promise<Launcher>;
  /** Leaves the launcher as a server killed with 9 does: nothing is closed, nothing says goodbye. */
  abandon(launcher: Launcher): Promise<void>;
  /** How many processes or pods the session has. */
  running(claim: Claim): Promise<number>;
  /** Kills the supervisor at once, as the kernel does. */
  crash(claim: Claim): Promise<void>;
  /** Ends every workload and removes everything. */
  dispose(): Promise<void>;
}

export const specOf = (asked: Partial<SessionSpec> = {}): SessionSpec => ({ ...NO_SPEC, kind: "pyspark", ...asked });
export const NO_LIMITS: PresetLimits = {
  ...{ sessionsPerUser: 0, driverMemory: null, driverCores: 0, executorMemory: null, executorCores: 0, numExecutors: 0 },
};
/** A preset that asks for nothing. */
export const presetOf = (asked: Partial<Preset> & { readonly name: string }): Preset => ({
  ...{ displayName: asked.name, description: "", users: [], kind: null, idleTimeoutMs: null, ttlMs: null, conf: {}, limits: NO_LIMITS },
  ...asked,
});
export const draftOf = (asked: Partial<SessionSpec> = {}, more: Partial<ClaimDraft> = {}): ClaimDraft => ({
  uid: randomUUID(),
  owner: null,
  notes: [],
  ...more,
  spec: specOf(asked),
});

/** A batch's, tried up to three times. */
export const applicationOf = (file: string, args: readonly string[] = []): Application => ({
  ...{ file, className: null, args: [...args] },
  retry: { maxAttempts: 3, backoffMs: 0, on: ["submission-refused", "driver-lost", "non-zero-exit"] },
});

const DEADLINE_MS = 20_000;
const soon = () => AbortSignal.timeout(DEADLINE_MS);

/** The claims a server finds at its start, by id. */
export const claimsOf = async (launcher: Launcher, signal: AbortSignal): Promise<readonly Claim[]> => {
  const found = new Map<number, Claim>();
  let told = false;
  // A launcher goes on telling; who asks wants to know how it was.
  const known = (claim: Claim) => told || found.set(claim.id, claim);
  await launcher.follow({ known, gone: () => undefined }, signal);
  told = true;
  return [...found.values()].sort((a, b) => a.id - b.id);
};

/** Waits for a phase and answers it. */
const reachWithin = async <Phase extends WorkloadPhase["phase"]>(
  workload: Workload,
  phase: Phase,
  signal: AbortSignal,
): Promise<Extract<WorkloadPhase, { phase: Phase }>> => {
  const seen: string[] = [];
  for await (const now of workload.phases(signal)) {
    seen.push(now.phase);
    // Checked by the comparison; TypeScript does not narrow a union by a generic's value.
    if (now.phase === phase) return now as Extract<WorkloadPhase, { phase: Phase }>;
  }
  throw new Error(`the workload never was ${phase}, only ${seen.join(", ")}`);
};

/** Dials until the driver says its first words. */
const firstWordsWithin = async (workload: Workload, signal: AbortSignal): Promise<WireFrame> => {
  for (;;) {
    signal.throwIfAborted();
    const words = await workload.dial(signal).then(
      (duplex) => {
        const channel = new FrameChannel(duplex);
        return new Promise<WireFrame | null>((resolve) => {
          channel.receive({ frames: ([first]) => first !== undefined && resolve(first), ended: () => resolve(null) });
        }).finally(() => channel.close());
      },
      () => null,
    );
    if (words !== null) return words;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

export const reach = <Phase extends WorkloadPhase["phase"]>(workload: Workload, phase: Phase, signal = soon()) =>
  reachWithin(workload, phase, signal);
export const firstWords = (workload: Workload, signal = soon()) => firstWordsWithin(workload, signal);

export const END: SessionEnd = { state: "dead", reason: "because", logTail: ["a", "b"], endedMs: 1_700_000_000_000, appId: "app-1" };

/**
 * What every launcher promises (core/ports.ts), told by what a server would see. `startMs`: how long a driver may take to run, or to
 * run again.
 */
export const launcherContract = (name: string, makeSite: () => Promise<LaunchSite>, startMs = DEADLINE_MS): void => {
  const soon = () => AbortSignal.timeout(startMs);
  const reach = <Phase extends WorkloadPhase["phase"]>(workload: Workload, phase: Phase) => reachWithin(workload, phase, soon());
  const firstWords = (workload: Workload) => firstWordsWithin(workload, soon());
  const sites: LaunchSite[] = [];
  const site = async (): Promise<LaunchSite> => {
    const made = await makeSite();
    sites.push(made);
    return made;
  };
  afterEach(async () => {
    await Promise.all(sites.splice(0).map((one) => one.dispose()));
  });

  describe(`${name}: claims`, () => {
    test("ids grow and never return, whatever was removed and however often the server started", async () => {
      const place = await site();
      const first = await place.open();
      const claims = [await first.claim(draftOf(), soon()), await first.claim(draftOf(), soon()), await first.claim(draftOf(), soon())];
      expect(claims.map((claim) => claim.id)).toEqual([0, 1, 2]);
      expect(new Set(claims.map((claim) => claim.uid)).size).toBe(3);
      for (const claim of claims) {
        await first.conclude(claim, END);
        await first.remove(claim);
      }
      await first.close();
      const second = await place.open();
      expect(await claimsOf(second, soon())).toEqual([]);
      expect((await second.claim(draftOf(), soon())).id).toBe(3);
      await second.close();
    });

    test("many at once get an id each", async () => {
      const place = await site();
      const launcher = await place.open();
      const claims = await Promise.all(Array.from({ length: 20 }, () => launcher.claim(draftOf(), soon())));
      expect(claims.map((claim) => claim.id).sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, id) => id));
      await launcher.close();
    });

    test("a server killed right after a claim leaves it to the next one, without its secrets", async () => {
      const place = await site();
      const first = await place.open();
      const draft = draftOf(
        { name: "alpha", conf: { "spark.hadoop.fs.s3a.secret.key": "hush", "spark.a": "1" }, driverMemory: "1g" },
        { owner: "ada", notes: ["a note"] },
      );
      const claim = await first.claim(draft, soon());
      await place.abandon(first);
      const second = await place.open();
      expect(await claimsOf(second, soon())).toEqual([claim]);
      expect(claim).toMatchObject({ owner: "ada", notes: ["a note"], end: null, spec: { name: "alpha", driverMemory: "1g" } });
      expect(JSON.stringify(claim)).not.toContain("hush");
      await second.close();
    });

    test("a name is one session's until that has ended", async () => {
      const place = await site();
      const first = await place.open();
      const holder = await first.claim(draftOf({ name: "α/β ../x" }), soon());
      const taken = { code: "NAME_TAKEN", message: expect.stringMatching(/^Duplicate session name: α\/β \.\.\/x for session \d+$/) };
      await expect(first.claim(draftOf({ name: "α/β ../x" }), soon())).rejects.toMatchObject(taken);
      await first.close();
      const second = await place.open();
      expect((await claimsOf(second, soon())).map((claim) => claim.id)).toEqual([holder.id]);
      await expect(second.claim(draftOf({ name: "α/β ../x" }), soon())).rejects.toMatchObject(taken);
      await second.conclude(holder, END);
      const heir = await second.claim(draftOf({ name: "α/β ../x" }), soon());
      expect(heir.id).toBeGreaterThan(holder.id);
      // Removing the old one does not free what the new one holds.
      await second.remove(holder);
      await expect(second.claim(draftOf({ name: "α/β ../x" }), soon())).rejects.toMatchObject(taken);
      await second.close();
    });

    test("of many who want a name at once one gets it", async () => {
      const place = await site();
      const launcher = await place.open();
      const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => launcher.claim(draftOf({ name: "wanted" }), soon())));
      expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(1);
      expect(await claimsOf(launcher, soon())).toHaveLength(1);
      await launcher.close();
    });

    test("a claim keeps what its preset was, without its secrets", async () => {
      const place = await site();
      const first = await place.open();
      const preset = {
        name: "small",
        conf: { "spark.a": "1", "spark.ssl.keyPassword": "hush" },
        limits: { ...NO_LIMITS, numExecutors: 2 },
      };
      const claim = await first.claim(draftOf({ preset }), soon());
      await place.abandon(first);
      const second = await place.open();
      expect(await claimsOf(second, soon())).toEqual([claim]);
      expect(claim.spec.preset).toMatchObject({ name: "small", conf: { "spark.a": "1" }, limits: preset.limits });
      expect(JSON.stringify(claim)).not.toContain("hush");
      await expect(second.claim(draftOf({ preset, numExecutors: 3 }), soon())).rejects.toMatchObject({
        code: "SPEC_REFUSED",
        message: "Rejected, Reason: numExecutors 3 is over preset 'small' limit of 2",
      });
      await second.close();
    });

    test("a plan takes no id and makes nothing, shows no secret and is refused like a claim", async () => {
      const place = await site();
      const launcher = await place.open();
      const jars = ["https://ada:hush@host/x.jar"];
      const draft = draftOf({ name: "planned", driverMemory: "1g", jars, conf: { "spark.ssl.keyPassword": "hush", "spark.a": "1" } });
      const { conf, ...plan } = await launcher.plan(draft, soon());
      expect(conf).toMatchObject({
        "spark.app.name": { value: "planned", source: "field name" },
        "spark.driver.memory": { value: "1g", source: "field driverMemory" },
        "spark.a": { value: "1", source: "user" },
        "spark.ssl.keyPassword": { value: "*********(redacted)", source: "user" },
      });
      expect(JSON.stringify(plan)).not.toContain("hush");
      expect(plan.jars).toEqual(["https://*********(redacted)@host/x.jar"]);
      const refused = launcher.plan(draftOf({ conf: { "spark.submit.deployMode": "cluster" } }), soon());
      await expect(refused).rejects.toMatchObject({ code: "SPEC_REFUSED", message: expect.stringContaining("spark.submit.deployMode") });
      expect(await claimsOf(launcher, soon())).toEqual([]);
      expect((await launcher.claim(draft, soon())).id).toBe(0);
      await launcher.close();
    });

    test("what cannot be started as asked is refused before an id is taken", async () => {
      const place = await site();
      const launcher = await place.open();
      const refused = launcher.claim(draftOf({ conf: { "spark.submit.deployMode": "cluster" } }), soon());
      await expect(refused).rejects.toMatchObject({ code: "SPEC_REFUSED", message: expect.stringContaining("spark.submit.deployMode") });
      expect((await launcher.claim(draftOf(), soon())).id).toBe(0);
      await launcher.close();
    });

    test("the first end stays, and outlives the workload and the server until it is removed", async () => {
      const place = await site();
      const first = await place.open();
      const claim = await first.claim(draftOf(), soon());
      expect(await first.conclude(claim, END)).toEqual(END);
      expect(await first.conclude(claim, { ...END, state: "killed", reason: "another" })).toEqual(END);
      await first.close();
      const second = await place.open();
      const [ended] = await claimsOf(second, soon());
      expect(ended).toEqual({ ...claim, end: END });
      if (ended === undefined) throw new Error("the claim is gone");
      expect(second.launch(ended).phase).toMatchObject({ phase: "ended", state: "dead", reason: "because", logTail: ["a", "b"] });
      await second.remove(ended);
      await second.remove(ended);
      expect(await claimsOf(second, soon())).toEqual([]);
      await second.close();
    });
  });

  describe(`${name}: workloads`, { timeout: 3 * startMs }, () => {
    const start = async (launcher: Launcher) => {
      const claim = await launcher.claim(draftOf(), soon());
      const workload = launcher.launch(claim);
      await reach(workload, "running");
      return { claim, workload };
    };

    test("a launched one runs, is one however often it is launched, and can be dialled by many", async () => {
      const place = await site();
      const launcher = await place.open();
      const { claim, workload } = await start(launcher);
      expect(launcher.launch(claim)).toBe(workload);
      expect(workload.key).toHaveLength(32);
      const words = await Promise.all([firstWords(workload), firstWords(workload)]);
      expect(words).toMatchObject([
        { frame: "challenge", versions: [...PROTOCOL_VERSIONS] },
        { frame: "challenge", versions: [...PROTOCOL_VERSIONS] },
      ]);
      expect(words[0]?.["nonce"]).not.toBe(words[1]?.["nonce"]);
      await launcher.close();
    });

    test("a stopped one ends, and leaves nothing behind", async () => {
      const place = await site();
      const launcher = await place.open();
      const { claim, workload } = await start(launcher);
      await firstWords(workload);
      expect(await place.running(claim)).toBeGreaterThan(0);
      await Promise.all([workload.stop(10_000), workload.stop(10_000)]);
      expect(workload.phase).toMatchObject({ phase: "ended", state: "killed" });
      expect(await place.running(claim)).toBe(0);
      await expect(workload.dial(soon())).rejects.toThrow();
      await launcher.close();
    });

    test("one that is stopped as soon as it is launched leaves nothing behind", async () => {
      const place = await site();
      const launcher = await place.open();
      const claim = await launcher.claim(draftOf(), soon());
      const workload = launcher.launch(claim);
      await workload.stop(5_000);
      expect(workload.phase).toMatchObject({ phase: "ended", state: "killed" });
      expect(await place.running(claim)).toBe(0);
      await launcher.close();
    });

    test("a closed launcher ends nothing; the next one adopts what runs, with the same key", async () => {
      const place = await site();
      const first = await place.open();
      const { claim, workload } = await start(first);
      await firstWords(workload);
      const processes = await place.running(claim);
      await first.close();
      const second = await place.open();
      const [found] = await claimsOf(second, soon());
      expect(found).toEqual(claim);
      const adopted = second.launch(claim);
      await reach(adopted, "running");
      expect(await place.running(claim)).toBe(processes);
      expect(adopted.key).toEqual(workload.key);
      expect(await firstWords(adopted)).toMatchObject({ frame: "challenge" });
      await adopted.stop(10_000);
      expect(adopted.phase).toMatchObject({ phase: "ended", state: "killed" });
      expect(await place.running(claim)).toBe(0);
      await second.close();
    });

    test("a claim that was never launched is launched by the next server", async () => {
      const place = await site();
      const first = await place.open();
      const claim = await first.claim(draftOf(), soon());
      await place.abandon(first);
      const second = await place.open();
      const [found] = await claimsOf(second, soon());
      if (found === undefined) throw new Error("the claim is gone");
      const workload = second.launch(found);
      await reach(workload, "running");
      expect(await firstWords(workload)).toMatchObject({ frame: "challenge" });
      expect(await place.running(claim)).toBeGreaterThan(0);
      await second.close();
    });

    test("one that ended while no server ran is told of as ended, with the driver's own words", async () => {
      const place = await site();
      const first = await place.open();
      const claim = await first.claim(draftOf({ ttlMs: 300 }), soon());
      // It may be over before anybody sees it run.
      for await (const { phase } of first.launch(claim).phases(soon())) if (phase !== "pending") break;
      await place.abandon(first);
      await expect.poll(() => place.running(claim), { timeout: startMs }).toBe(0);
      const second = await place.open();
      await claimsOf(second, soon());
      const ended = await reach(second.launch(claim), "ended");
      expect(ended).toMatchObject({ state: "dead", reason: expect.stringMatching(/time|long|ttl/i) });
      await second.close();
    });

    test("a supervisor that crashed is started again in place, three times in ten minutes and no more", async () => {
      const place = await site();
      const launcher = await place.open();
      const { claim, workload } = await start(launcher);
      for (let crash = 0; crash < 3; crash++) {
        await firstWords(workload);
        await place.crash(claim);
        await reach(workload, "pending");
        await reach(workload, "running");
      }
      await firstWords(workload);
      await place.crash(claim);
      const ended = await reach(workload, "ended");
      expect(ended).toMatchObject({ state: "dead", reason: expect.stringContaining("crashed") });
      expect(await place.running(claim)).toBe(0);
      await launcher.close();
    });

    test("an adopted one that crashes is seen, and started again", async () => {
      const place = await site();
      const first = await place.open();
      const { claim, workload: before } = await start(first);
      await firstWords(before);
      await first.close();
      const second = await place.open();
      await claimsOf(second, soon());
      const workload = second.launch(claim);
      await reach(workload, "running");
      const connection = await workload.dial(soon());
      connection.on("error", () => undefined);
      await place.crash(claim);
      await reach(workload, "pending");
      await reach(workload, "running");
      expect(await firstWords(workload)).toMatchObject({ frame: "challenge" });
      connection.destroy();
      await second.close();
    });

    test("no batch has the id 0, which Airflow's operator takes for none", async () => {
      const place = await site();
      const launcher = await place.open();
      const batch = await launcher.claim(draftOf({ application: applicationOf("local:///no/such/application.py") }), soon());
      expect(batch.id).toBeGreaterThan(0);
      await launcher.remove(batch);
      await launcher.close();
    });

    test("an attempt that ended is followed by another of the same claim, once, whoever asks and however often", async () => {
      const place = await site();
      const first = await place.open();
      const claim = await first.claim(draftOf({ application: applicationOf("local:///no/such/application.py") }), soon());
      const ended = await reach(first.launch(claim), "ended");
      expect(ended).toMatchObject({
        state: "dead",
        cause: "submission-refused",
        reason: expect.stringContaining("/no/such/application.py"),
      });
      const attempt = { ...END, cause: "submission-refused", nextMs: 1_700_000_001_000 } as const;
      const next = await first.retry(claim, attempt);
      expect(next).toEqual({ ...claim, attempts: [attempt] });
      expect(await first.retry(claim, { ...attempt, reason: "told late" })).toEqual(next);
      await place.abandon(first);
      const second = await place.open();
      expect(await claimsOf(second, soon())).toEqual([next]);
      expect(await reach(second.launch(next), "ended")).toMatchObject({ state: "dead", cause: "submission-refused" });
      expect(await second.conclude(next, END)).toEqual(END);
      expect(await second.retry(next, attempt)).toMatchObject({ end: END, attempts: [attempt] });
      expect(await place.running(claim)).toBe(0);
      await second.remove(next);
      await second.close();
    });

    test("one that cannot be started ends with the reason, and does not reject", async () => {
      const place = await site();
      const launcher = await place.openBroken();
      const claim = await launcher.claim(draftOf(), soon());
      const ended = await reach(launcher.launch(claim), "ended");
      expect(ended.state).toBe("dead");
      expect(ended.reason).not.toBe("");
      expect(ended.cause).toBe("submission-refused");
      await launcher.close();
    });
  });
};
