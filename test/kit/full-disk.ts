import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Claim } from "../../src/core/ports.ts";
import { Problem } from "../../src/core/problems.ts";
import { openLocalLauncher } from "../../src/launch/local.ts";
import { claimsOf, draftOf, END, firstWords, reach } from "../launch/contract.ts";
import { settingsWithoutSpark } from "./local-site.ts";

/**
 * What becomes of sessions while the disk below the runtime directory is full. Runs with a small file system of its own at its second
 * argument; prints what a server would have seen as one JSON object.
 */
const [root = "", runtimeDir = ""] = process.argv.slice(2);
const soon = () => AbortSignal.timeout(20_000);
const settings = await settingsWithoutSpark(root, runtimeDir);
const launcher = await openLocalLauncher(settings);

const running = await launcher.claim(draftOf({ name: "running" }), soon());
const workload = launcher.launch(running);
await reach(workload, "running");
await firstWords(workload);
const waiting = await launcher.claim(draftOf({ name: "waiting" }), soon());

/** Writes until nothing fits, not a byte. */
const fill = async (path: string): Promise<void> => {
  const file = await open(path, "a");
  try {
    for (let size = 1 << 20; size >= 1; size >>= 1) {
      for (;;) {
        const fitted = await file.write(Buffer.alloc(size)).then(
          ({ bytesWritten }) => bytesWritten === size,
          () => false,
        );
        if (!fitted) break;
      }
    }
  } finally {
    await file.close();
  }
};
const filler = join(runtimeDir, "filler");
await fill(filler);

const problemOf = (work: Promise<unknown>): Promise<object> =>
  work.then(
    () => ({ ok: true }),
    (error: unknown) => (error instanceof Problem ? { code: error.code, message: error.message } : { bug: String(error) }),
  );

const claimed = await problemOf(launcher.claim(draftOf({ name: "late" }), soon()));
const launched = await reach(launcher.launch(waiting), "ended");
await launcher.close();

const second = await openLocalLauncher(settings);
const [found = running] = await claimsOf(second, soon());
const adopted = second.launch(found);
await reach(adopted, "running");
const alive = (await firstWords(adopted)).frame;
await adopted.stop(10_000);
const stopped = adopted.phase;
const concluded = await problemOf(second.conclude(found, END));
const litter = (await readdir(join(runtimeDir, "sessions", "0"))).filter((name) => name.endsWith(".tmp"));

await rm(filler);
const late = await second.claim(draftOf({ name: "late" }), soon());
await second.conclude(running, END);
await second.close();
const next = await openLocalLauncher(settings);
const claims: readonly Claim[] = await claimsOf(next, soon());
await next.close();
const left = claims.map(({ id, spec, end }) => ({ id, name: spec.name, end: end?.reason ?? null }));
process.stdout.write(JSON.stringify({ claimed, launched, alive, stopped, concluded, litter, late: late.id, left }));
