/** Writes `docs/configuration.md`; `--check` says with exit code 1 that it has drifted from the schema. */
import { readFileSync, writeFileSync } from "node:fs";
import { configurationPage } from "./manual.ts";

const file = new URL("../docs/configuration.md", import.meta.url);
if (!process.argv.includes("--check")) writeFileSync(file, configurationPage());
else if (readFileSync(file, "utf8") !== configurationPage()) {
  process.stderr.write("docs/configuration.md has drifted from src/options.ts: run `npm run docs`.\n");
  process.exitCode = 1;
}
