import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type Config, loadConfig } from "../src/config.ts";
import type { Launcher, SessionDraft } from "../src/core/ports.ts";
import { Problem } from "../src/core/problems.ts";
import { readPresets, tryPresets } from "../src/presets.ts";
import { NO_LIMITS, presetOf } from "./launch/contract.ts";

const directory = mkdtempSync(join(tmpdir(), "longwick-presets-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const written = (name: string, content: string): string => {
  const file = join(directory, name);
  writeFileSync(file, content);
  return file;
};
const configOf = (toml: string, ...argv: string[]): Config =>
  loadConfig(["--config", written("longwick.toml", toml), ...argv], {}, directory).config;
const never = (message: string) => {
  throw new Error(message);
};

describe("presets from the configuration", () => {
  const TOML = `
[presets.gpu]
displayName = "With a GPU"
kind = "pyspark"
ttl = "8h"
driverMemory = "2g"
numExecutors = 2
image = "registry.example/gpu:1"
driverTemplate = "driver.yaml"
executorTemplate = "executor.yaml"
conf.spark.driver.memory = "1g"
conf.spark.kubernetes.driver.podTemplateContainerName = "main"
[presets.gpu.limits]
numExecutors = 4
executorMemory = "8g"
[presets.plain]
`;
  written("driver.yaml", "spec:\n  containers:\n  - {name: side, image: side:1}\n  - {name: main}\n");
  written("executor.yaml", "metadata:\n  labels: {tier: gpu}\n");

  test("are one conf, in which sizes, image and templates stand under Spark's names", async () => {
    const [gpu, plain] = await readPresets(configOf(TOML, "--launcher", "kubernetes"), never);
    expect(gpu).toEqual({
      ...{ name: "gpu", displayName: "With a GPU", description: "", users: [], kind: "pyspark", idleTimeoutMs: null, ttlMs: 28_800_000 },
      conf: {
        "spark.driver.memory": "2g",
        "spark.executor.instances": "2",
        "spark.dynamicAllocation.maxExecutors": "4",
        "spark.kubernetes.container.image": "registry.example/gpu:1",
        "spark.kubernetes.driver.podTemplateContainerName": "main",
        "spark.kubernetes.driver.podTemplateFile": '{"spec":{"containers":[{"name":"main"},{"name":"side","image":"side:1"}]}}',
        "spark.kubernetes.executor.podTemplateFile": '{"metadata":{"labels":{"tier":"gpu"}}}',
      },
      limits: { ...NO_LIMITS, executorMemory: "8g", numExecutors: 4 },
    });
    expect(plain).toEqual(presetOf({ name: "plain" }));
  });

  test("leave what is for pods aside where drivers are processes, and say so", async () => {
    const warnings: string[] = [];
    const [gpu] = await readPresets(configOf(TOML), (message) => warnings.push(message));
    expect(warnings).toEqual([
      "presets.gpu: drivers are processes here; what is for pods has no effect: image, driverTemplate, executorTemplate",
    ]);
    expect(gpu?.conf).not.toHaveProperty(["spark.kubernetes.container.image"]);
    expect(gpu?.conf).not.toHaveProperty(["spark.kubernetes.driver.podTemplateFile"]);
    expect(gpu?.conf).toMatchObject({ "spark.driver.memory": "2g" });
  });

  test.each([
    ['driverTemplate = "absent.yaml"', /presets\.a: driverTemplate .*absent\.yaml: ENOENT/],
    ['driverTemplate = "broken.yaml"', /presets\.a: driverTemplate .*broken\.yaml: it is no YAML/],
    ['driverTemplate = "odd.yaml"', /presets\.a: driverTemplate .*odd\.yaml: .*kind/],
    [
      'conf.spark.kubernetes.driver.podTemplateFile = "x.yaml"',
      /presets\.a: conf\.spark\.kubernetes\.driver\.podTemplateFile: name the file/,
    ],
    ['conf."spark.a" = "1"\nconf."spark.a " = "2"', /presets\.a: spark\.a is asked for twice/],
  ])("that cannot be read are named: %s", async (line, message) => {
    written("broken.yaml", "a: [");
    written("odd.yaml", "kind: Deployment");
    await expect(readPresets(configOf(`[presets.a]\n${line}`, "--launcher", "kubernetes"), never)).rejects.toThrow(message);
  });
});

describe("a preset that is tried out", () => {
  const launcher = (plan: (draft: SessionDraft) => void): Launcher => {
    const unused = () => Promise.reject(new Error("not to be called"));
    return {
      plan: async (draft) => {
        plan(draft);
        return { conf: {}, jars: [], pyFiles: [], files: [], archives: [], workload: {} };
      },
      ...{
        claim: unused,
        follow: unused,
        find: unused,
        launch: () => never("not to be called"),
        retry: unused,
        log: unused,
        showsExecutors: false,
        executors: unused,
        executorLog: unused,
        conclude: unused,
        records: () => never("not to be called"),
        schedules: {
          off: null,
          ...{ follow: unused, create: unused, find: unused, change: unused, remove: unused },
          ...{ request: unused, accepted: unused, conclude: unused, close: unused },
        },
        remove: unused,
        close: unused,
      },
    };
  };

  test("is planned as a session that asks for nothing else", async () => {
    const drafts: SessionDraft[] = [];
    await tryPresets(
      [presetOf({ name: "a", kind: "sql", conf: { "spark.a": "1" } })],
      ["sql"],
      launcher((draft) => drafts.push(draft)),
    );
    expect(drafts.map(({ spec }) => spec.preset)).toEqual([{ name: "a", conf: { "spark.a": "1" }, limits: NO_LIMITS }]);
  });

  test("is refused by its name", async () => {
    const refusing = launcher(() => {
      throw new Problem("SPEC_REFUSED", "Rejected, Reason: spark.driver.host cannot be set: because");
    });
    await expect(tryPresets([presetOf({ name: "a" })], [], refusing)).rejects.toThrow(
      "presets.a: spark.driver.host cannot be set: because",
    );
    const fine = launcher(() => undefined);
    await expect(tryPresets([presetOf({ name: "a", kind: "sparkr" })], ["pyspark"], fine)).rejects.toThrow(
      "presets.a: kind sparkr is not available here, only pyspark",
    );
  });
});
