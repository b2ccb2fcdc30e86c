import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, expect, test } from "vitest";
import { installLabExtension, removeLabExtension } from "../../src/kernelspec/lab-extension.ts";

const OURS = fileURLToPath(new URL("../../kernelspec/labextension", import.meta.url));
const read = (path: string) => JSON.parse(readFileSync(path, "utf8"));

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "lw-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test("JupyterLab finds all of the extension, over an older one too, and nothing once it is removed", async () => {
  const old = join(root, "labextensions/longwick/static");
  mkdirSync(old, { recursive: true });
  writeFileSync(join(old, "remoteEntry.js"), "old");
  const directory = await installLabExtension(root, OURS);
  const { name, jupyterlab, version } = read(join(directory, "package.json"));
  expect(directory).toBe(join(root, "labextensions", name));
  expect(readFileSync(join(directory, jupyterlab._build.load), "utf8")).toContain("_JUPYTERLAB");
  expect(version).toBe(read(join(OURS, "../../package.json")).version);
  await removeLabExtension(root);
  expect(readdirSync(join(root, "labextensions"))).toEqual([]);
});

test("a directory that cannot be written is said to be that", async () => {
  writeFileSync(join(root, "labextensions"), "a file");
  await expect(installLabExtension(root, OURS)).rejects.toThrow(/labextensions.longwick cannot be written/);
  expect(existsSync(join(root, "labextensions/longwick"))).toBe(false);
});

test("it is a container of module federation with one plugin, which asks for the notebooks", async () => {
  const shares = (exported: object) => ({ "1.0.0": { get: async () => () => exported } });
  const INotebookTracker = {};
  const page: { _JUPYTERLAB?: Record<string, { init(scope: object): void; get(module: string): Promise<() => { default: object }> }> } = {};
  runInNewContext(readFileSync(join(OURS, "static/remoteEntry.js"), "utf8"), { window: page });
  const container = page._JUPYTERLAB?.["longwick"];
  container?.init({ "@jupyterlab/notebook": shares({ INotebookTracker }), "@jupyterlab/services": shares({ KernelMessage: {} }) });
  const plugin = (await container?.get("./extension"))?.().default;
  expect(plugin).toMatchObject({ id: "longwick:resume", autoStart: true, requires: [INotebookTracker] });
});
