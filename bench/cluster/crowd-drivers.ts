import { readFileSync } from "node:fs";
import { createServer } from "node:tls";
import { MasterKeys } from "../../src/launch/kubernetes/keys.ts";
import { PORTS } from "../../src/launch/kubernetes/pod.ts";
import { FakeDriver } from "../../test/kit/fake-driver.ts";

/**
 * The drivers of idle sessions, without Spark: each listens at an address of its own with its own certificate and key, as in a pod, proves
 * itself and answers. `{master, sessions: [{uid, address}]}` comes in the file that is the argument; they end with their standard
 * input.
 */
export interface CrowdOrder {
  /** The master key in base64. */
  readonly master: string;
  readonly sessions: readonly { readonly uid: string; readonly address: string }[];
}

const FACTS = { python: "3.11.2", spark: "4.1.4", appId: "spark-application-1", uiUrl: null, sparkUser: "185", ipython: null };
/** About what Spark says while it starts. */
const LOG = Array.from(
  { length: 60 },
  (_, line) => `26/01/01 12:00:00 INFO SparkContext: line ${line} of what a driver says at its start, as long as most`,
);

const listen = (keys: MasterKeys, uid: string, address: string): Promise<void> => {
  const driver = new FakeDriver(uid, keys.session(keys.current, uid).link);
  driver.emit("interpreter", { phase: "starting", reason: null, facts: null });
  driver.log(...LOG);
  driver.emit("interpreter", { phase: "ready", reason: null, facts: FACTS });
  const { certificate, key } = keys.certificate(keys.current, uid);
  const server = createServer({ cert: certificate, key, minVersion: "TLSv1.3" }, (socket) => {
    socket.on("error", () => undefined);
    driver.accept(socket);
  });
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(PORTS.link, address, resolve);
  });
};

// Written by our own benchmark.
const { master, sessions } = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as CrowdOrder;
const keys = new MasterKeys([Buffer.from(master, "base64")]);
for (const { uid, address } of sessions) await listen(keys, uid, address);
process.stdout.write("listening\n");
process.stdin.resume().on("end", () => process.exit());
