import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { clientsPython, driverPython } from "../test/kit/python.ts";
import { kernel } from "./kernel.ts";
import { type Bench, clients, coldStart, driver, server, shortOf } from "./measures.ts";
import { machineClass, type Row, table } from "./report.ts";

/**
 * `npm run bench`: Longwick and its floors, in turn in one run. `-- --quick` takes fewer samples, `--only clients,driver` a part,
 * `--write` puts the table into docs/benchmarks.md. With LIVY_URL a real Livy is measured beside.
 */
const PARTS: Readonly<Record<string, (bench: Bench) => Promise<readonly Row[]>>> = { clients, coldStart, server, driver, kernel };
const PAGE = fileURLToPath(new URL("../docs/benchmarks.md", import.meta.url));

const { values } = parseArgs({
  options: { quick: { type: "boolean", default: false }, write: { type: "boolean", default: false }, only: { type: "string" } },
});
const chosen = values.only?.split(",") ?? Object.keys(PARTS);
const bench: Bench = {
  rounds: values.quick ? 5 : 20,
  livyUrl: process.env["LIVY_URL"] ?? null,
  driverPython: await driverPython(),
  clientsPython: await clientsPython(),
};

const rows: Row[] = [];
for (const name of chosen) {
  const part = PARTS[name];
  if (part === undefined) throw new Error(`no part ${name}; there are ${Object.keys(PARTS).join(", ")}`);
  const found = await part(bench);
  rows.push(...found);
  process.stderr.write(`${shortOf(found)}\n`);
}
const result = table(rows);
process.stdout.write(`\n${result}\n`);
if (values.write) {
  writeFileSync(
    PAGE,
    `# Benchmarks

Made by \`npm run bench -- --write\` on ${new Date().toISOString().slice(0, 10)}, ${machineClass()}. Median / 95th percentile; ours and the
floor are measured in turn in the same run, so that what slows the machine slows both. Goals are those of the design.

${result}
`,
  );
}
