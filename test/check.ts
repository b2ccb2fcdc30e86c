/** `npm run check`: types, format and lint, generated files, the house's rules, and the same for the Python shim. Every check runs. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { toolsPython } from "./kit/python.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SHIM = fileURLToPath(new URL("../python-shim", import.meta.url));
const node = process.execPath;
const python = await toolsPython();
const bin = (name: string): string => `node_modules/.bin/${name}`;

const CHECKS: readonly (readonly [name: string, cwd: string, command: string, ...args: string[]])[] = [
  ["types", ROOT, bin("tsc"), "-p", "."],
  ["format and lint", ROOT, bin("biome"), "ci", "--error-on-warnings"],
  ["the wire's generated files", ROOT, node, "src/protocol/emit.ts", "--check"],
  ["the configuration's page", ROOT, node, "src/manual-page.ts", "--check"],
  ["the house's rules", ROOT, bin("vitest"), "run", "--project", "unit", "test/house.test.ts"],
  ["shim: lint", SHIM, python, "-m", "ruff", "check"],
  ["shim: format", SHIM, python, "-m", "ruff", "format", "--check"],
  ["shim: types", SHIM, python, "-m", "mypy"],
];

const failed = CHECKS.filter(([name, cwd, command, ...args]) => {
  const startedMs = performance.now();
  const { status, error } = spawnSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"], timeout: 600_000 });
  if (error !== undefined) process.stderr.write(`${error.message}\n`);
  process.stdout.write(`${status === 0 ? "ok    " : "FAILED"} ${name} (${((performance.now() - startedMs) / 1_000).toFixed(1)} s)\n`);
  return status !== 0;
});
if (failed.length > 0) process.exitCode = 1;
