import { readFile } from "node:fs/promises";
import { type Config, ConfigError } from "./config.ts";
import type { Launcher } from "./core/ports.ts";
import type { Preset } from "./core/presets.ts";
import { Problem } from "./core/problems.ts";
import { type Conf, NO_SPEC, type PresetLimits } from "./core/spec.ts";
import { canonicalConf } from "./launch/conf.ts";
import { readTemplate, type TemplateRole, templateKey } from "./launch/kubernetes/template.ts";
import { limitedConf } from "./launch/limits.ts";
import { SIZE_KEYS } from "./launch/spark.ts";
import { POD_KEYS, type PresetTable } from "./preset-tables.ts";

/**
 * The presets of the configuration, their templates read; `warn` is told of what has no effect here.
 * @throws ConfigError for what cannot be read
 */
export const readPresets = async (config: Config, warn: (message: string) => void): Promise<readonly Preset[]> =>
  Promise.all(
    Object.entries(config.presets).map(async ([name, table]) => {
      const forPods = POD_KEYS.filter((key) => table[key] !== undefined);
      if (config.launcher !== "kubernetes" && forPods.length > 0)
        warn(`presets.${name}: drivers are processes here; what is for pods has no effect: ${forPods.join(", ")}`);
      try {
        return await readPreset(name, table, config.launcher === "kubernetes");
      } catch (error) {
        throw complaint(name, error);
      }
    }),
  );

/**
 * Has each preset tried out: what it asks for by itself must be possible here and within its own limits.
 * @throws ConfigError that names the preset and what is wrong with it
 */
export const tryPresets = async (presets: readonly Preset[], kinds: readonly string[], launcher: Launcher): Promise<void> => {
  for (const { name, kind, conf, limits } of presets) {
    if (kind !== null && kind !== "shared" && !kinds.includes(kind))
      throw complaint(name, new Error(`kind ${kind} is not available here, only ${kinds.join(", ")}`));
    const draft = { owner: null, spec: { ...NO_SPEC, preset: { name, conf, limits } }, notes: [] };
    await launcher.plan(draft, AbortSignal.timeout(TRY_MS)).catch((error: unknown) => {
      throw complaint(name, error);
    });
  }
};
const TRY_MS = 10_000;

const complaint = (name: string, error: unknown): Error => {
  const words = error instanceof Error ? error.message : String(error);
  return new ConfigError([`presets.${name}: ${error instanceof Problem ? words.replace(/^Rejected, Reason: /, "") : words}`]);
};

const readPreset = async (name: string, table: PresetTable, pods: boolean): Promise<Preset> => {
  const limits = limitsOf(table);
  return {
    name,
    displayName: table.displayName ?? name,
    description: table.description ?? "",
    users: table.users ?? [],
    kind: table.kind ?? null,
    idleTimeoutMs: table.idleTimeout ?? null,
    ttlMs: table.ttl ?? null,
    conf: {
      ...limitedConf(limits),
      ...canonicalConf(table.conf ?? {}),
      ...sizesOf(table),
      ...(pods && table.image !== undefined ? { "spark.kubernetes.container.image": table.image } : {}),
      ...(pods ? await templatesOf(table) : {}),
    },
    limits,
  };
};

const SIZES = Object.keys(SIZE_KEYS) as (keyof typeof SIZE_KEYS)[]; // the table's own keys

const sizesOf = (table: PresetTable): Conf =>
  Object.fromEntries(SIZES.flatMap((size) => (table[size] === undefined ? [] : [[SIZE_KEYS[size], String(table[size])]])));

const limitsOf = ({ limits = {} }: PresetTable): PresetLimits => ({
  sessionsPerUser: limits.sessionsPerUser ?? 0,
  driverMemory: limits.driverMemory ?? null,
  driverCores: limits.driverCores ?? 0,
  executorMemory: limits.executorMemory ?? null,
  executorCores: limits.executorCores ?? 0,
  numExecutors: limits.numExecutors ?? 0,
});

/** As JSON under the keys that a session would give them by. */
const templatesOf = async (table: PresetTable): Promise<Conf> => {
  const conf = table.conf ?? {};
  const found: [string, string][] = [];
  for (const role of ["driver", "executor"] as const satisfies readonly TemplateRole[]) {
    const key = `${role}Template` as const;
    if (conf[templateKey(role)] !== undefined) throw new Error(`conf.${templateKey(role)}: name the file as ${key}`);
    const path = table[key];
    if (path === undefined) continue;
    const { readYaml } = await import("./launch/kubernetes/yaml.ts");
    try {
      found.push([templateKey(role), JSON.stringify(readTemplate(await readFile(path, "utf8"), role, conf, readYaml))]);
    } catch (error) {
      throw new Error(`${key} ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  return Object.fromEntries(found);
};
