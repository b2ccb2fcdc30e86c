import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { clientsPython, driverPython } from "../test/kit/python.ts";
import { cluster, hasCluster } from "./cluster/cluster.ts";
import { kernel } from "./kernel.ts";
import { type Bench, clients, coldStart, driver, server, shortOf } from "./measures.ts";
import { machineClass, type Row, table, withSection } from "./report.ts";

/**
 * `npm run bench`: Longwick and its floors, in turn in one run. `-- --quick` takes fewer samples, `--only clients,driver` a part,
 * `--write` puts the tables that were made whole into docs/benchmarks.md. With LIVY_URL a real Livy is measured beside; the part `cluster` is
 * measured on the cluster that KUBECONFIG names.
 */
const PARTS: Readonly<Record<string, (bench: Bench) => Promise<readonly Row[]>>> = { clients, coldStart, server, driver, kernel, cluster };
/** Which parts a table of the page is made of. */
const TABLES: Readonly<Record<string, readonly string[]>> = {
  local: ["clients", "coldStart", "server", "driver", "kernel"],
  cluster: ["cluster"],
};
const PAGE = fileURLToPath(new URL("../docs/benchmarks.md", import.meta.url));

const { values } = parseArgs({
  options: { quick: { type: "boolean", default: false }, write: { type: "boolean", default: false }, only: { type: "string" } },
});
const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};
const leave = (why: string): never => {
  say(why);
  process.exit(1);
};
const NO_CLUSTER = "The part `cluster` needs KUBECONFIG to name a cluster that may be measured on.";
const named = values.only?.split(",") ?? null;
const unknown = named?.find((name) => !Object.hasOwn(PARTS, name));
if (unknown !== undefined) leave(`There is no part ${unknown}; there are ${Object.keys(PARTS).join(", ")}.`);
if (named?.includes("cluster") === true && !hasCluster()) leave(NO_CLUSTER);
if (named === null && !hasCluster()) say(`${NO_CLUSTER} It is left out.`);
const chosen = named ?? Object.keys(PARTS).filter((name) => name !== "cluster" || hasCluster());

const bench: Bench = {
  rounds: values.quick ? 5 : 20,
  livyUrl: process.env["LIVY_URL"] ?? null,
  driverPython: await driverPython(),
  clientsPython: await clientsPython(),
};
const found = new Map<string, readonly Row[]>();
for (const name of chosen) {
  const rows = (await PARTS[name]?.(bench)) ?? [];
  found.set(name, rows);
  say(shortOf(rows));
}
process.stdout.write(`\n${table([...found.values()].flat())}\n`);
if (values.write) {
  for (const [name, parts] of Object.entries(TABLES)) {
    const rows = parts.flatMap((part) => found.get(part) ?? []);
    if (!parts.every((part) => found.has(part))) continue;
    const measured = `Measured on ${new Date().toISOString().slice(0, 10)}, ${machineClass()}.\n\n${table(rows)}`;
    writeFileSync(PAGE, withSection(readFileSync(PAGE, "utf8"), name, measured));
  }
}
