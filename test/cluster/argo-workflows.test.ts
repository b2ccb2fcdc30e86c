import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ClusterSite, NAMESPACE, prepareNamespace } from "../kit/cluster.ts";
import { goModule } from "../kit/go-module.ts";
import { kubectl } from "../kit/kubectl.ts";
import { startReplica } from "../kit/replica.ts";
import type { Server } from "../kit/server.ts";
import { until } from "../kit/until.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const EXAMPLE = join(ROOT, "docker/kubernetes/examples/argo-workflows.yaml");
const ARGO_VERSION = "v3.7.3";
const KINDS = ["workflowtemplates", "cronworkflows"];
const RUN_MS = 200_000;

interface Parameter {
  readonly name: string;
  readonly value?: string;
}
interface Template {
  readonly inputs: { readonly parameters: readonly Parameter[] };
  readonly container: {
    readonly command: readonly string[];
    readonly args: readonly string[];
    readonly env: readonly { name: string; value: string }[];
  };
}
interface Applied {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly entrypoint?: string;
    readonly arguments?: { readonly parameters: readonly Parameter[] };
    readonly templates?: readonly Template[];
    readonly workflowSpec?: {
      readonly workflowTemplateRef: { readonly name: string };
      readonly arguments: { readonly parameters: readonly Parameter[] };
    };
  };
}

/** The example as the API server takes it, which knows every field of Argo's. */
const apply = async (file: string): Promise<readonly Applied[]> => {
  const text = await kubectl([
    "-n",
    NAMESPACE,
    "apply",
    "--server-side",
    "--dry-run=server",
    "--validate=strict",
    "-o",
    "json",
    "-f",
    file,
  ]);
  return JSON.parse(text).items;
};

describe("the example for Argo Workflows", { timeout: 2 * RUN_MS }, () => {
  const directory = mkdtempSync(join(tmpdir(), "lw-argo-"));
  const site = new ClusterSite();
  const ours: string[] = [];
  let server: Server;
  let applied: readonly Applied[];

  beforeAll(async () => {
    const crds = join(await goModule("github.com/argoproj/argo-workflows/v3", ARGO_VERSION), "manifests/base/crds/full");
    await prepareNamespace(site.api);
    for (const kind of KINDS) {
      const name = `crd/${kind}.argoproj.io`;
      if ((await kubectl(["get", name, "--ignore-not-found", "-o", "name"])) !== "") continue;
      ours.push(name);
      await kubectl(["apply", "--server-side", "-f", join(crds, `argoproj.io_${kind}.yaml`)]);
      // `kubectl wait` fails on one that has no conditions yet.
      const conditions = () => kubectl(["get", name, "-o", "jsonpath={.status.conditions}"]);
      await until(`${name} is served`, 60_000, async () => (/"True","type":"Established"/.test(await conditions()) ? true : undefined));
    }
    applied = await apply(EXAMPLE);
    server = await startReplica(site, ["--upload-dir", join(directory, "uploads")]);
  }, 400_000);
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await site.dispose();
    if (ours.length > 0) await kubectl(["delete", ...ours, "--timeout=60s"]);
    rmSync(directory, { recursive: true, force: true });
  });

  const template = (): Template => {
    const [found] = applied.find(({ kind }) => kind === "WorkflowTemplate")?.spec.templates ?? [];
    if (found === undefined) throw new Error("no template was applied");
    return found;
  };

  /** Runs the step's command line, its parameters filled in as Argo does, and answers how it ended and the message that Argo shows. */
  const step = (values: Readonly<Record<string, string>>) => {
    const { command, args, env } = template().container;
    const given = { ...defaults(), ...values };
    const filled = args.map((arg) =>
      arg.replaceAll(/\{\{(?:inputs\.parameters\.)?([\w.]+)\}\}/g, (_, name: string) => given[name] ?? `{{${name}}}`),
    );
    expect(filled.join(" ")).not.toContain("{{");
    const [program = "", script = "", ...more] = command;
    expect([program, script, more]).toEqual(["node", "/opt/longwick/bin/longwick.js", []]);
    writeFileSync(join(directory, "token"), "nobody asks for it\n");
    const here: Readonly<Record<string, string>> = { LONGWICK_URL: server.url, LONGWICK_TOKEN_FILE: join(directory, "token") };
    expect(env.map(({ name }) => name).sort()).toEqual(Object.keys(here).sort());
    const { PATH = "" } = process.env;
    const options = { env: { PATH, HOME: directory, ...here }, encoding: "utf8", timeout: RUN_MS } as const;
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "bin/longwick.js"), ...filled], options);
    return { status, stdout, lastWords: stderr.trimEnd().split("\n").at(-1) };
  };
  const defaults = (): Record<string, string> => {
    const { parameters = [] } = applied.find(({ kind }) => kind === "WorkflowTemplate")?.spec.arguments ?? {};
    return Object.fromEntries(parameters.map(({ name, value = "" }) => [name, value]));
  };

  test("has no field that Argo does not know", async () => {
    const wrong = join(directory, "wrong.yaml");
    writeFileSync(wrong, readFileSync(EXAMPLE, "utf8").replace("retryPolicy:", "retryPolicies:"));
    await expect(apply(wrong)).rejects.toThrow("retryPolicies");
    expect(applied.map(({ kind, metadata }) => [kind, metadata.name])).toEqual([
      ["WorkflowTemplate", "longwick-batch"],
      ["CronWorkflow", "longwick-nightly-report"],
    ]);
  });

  test("has a cron workflow that gives the template what it takes", () => {
    const cron = applied.find(({ kind }) => kind === "CronWorkflow")?.spec.workflowSpec;
    expect(cron?.workflowTemplateRef.name).toBe("longwick-batch");
    const inputs = template().inputs.parameters.map(({ name }) => name);
    expect(Object.keys(defaults()).sort()).toEqual([...inputs].sort());
    for (const { name } of cron?.arguments.parameters ?? []) expect(inputs).toContain(name);
  });

  test("has a step that runs a batch, finds it again by the workflow's key, and fails with its reason", () => {
    const file = join(directory, "report.py");
    writeFileSync(file, "import sys\nprint('reported', sys.argv[1:], flush=True)\nsys.exit(4 if 'bad' in sys.argv else 0)\n");
    const good = step({ "workflow.uid": "a-workflow", file, arguments: '["--full", "a \\"b\\""]' });
    expect(good).toMatchObject({ status: 0, stdout: expect.stringContaining("reported ['--full', 'a \"b\"']\n") });
    // As after a lost pod: the batch has run, and does not run again.
    expect(step({ "workflow.uid": "a-workflow", file, arguments: '["bad"]' })).toEqual(good);
    const bad = step({ "workflow.uid": "another", file, arguments: '["bad"]', attempts: "1" });
    expect(bad).toMatchObject({ status: 1, stdout: expect.stringContaining("reported ['bad']\n") });
    // What the template has by itself is no argument, not an empty one.
    expect(step({ "workflow.uid": "plain", file }).stdout).toContain("reported []\n");
    expect(bad.lastWords).toMatch(/^longwick: batch \d+ failed \(dead\): .*4/);
  });
});
