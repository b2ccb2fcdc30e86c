import { openLocalLauncher } from "../../src/launch/local.ts";
import { draftOf } from "../launch/contract.ts";

/**
 * A server's process as far as launching goes, to be killed: opens the launcher whose settings stand in its argument, launches a
 * session, says so in one line and waits for ever.
 */
const settings = JSON.parse(process.argv[2] ?? "");
const launcher = await openLocalLauncher({ ...settings, environment: process.env });
const claim = await launcher.claim(draftOf({ name: "survivor" }), AbortSignal.timeout(10_000));
const workload = launcher.launch(claim);
for await (const { phase } of workload.phases(AbortSignal.timeout(10_000))) if (phase === "running") break;
process.stdout.write(`${JSON.stringify(claim)}\n`);
setInterval(() => undefined, 60_000);
