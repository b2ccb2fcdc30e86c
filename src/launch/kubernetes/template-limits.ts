import type { V1Container, V1Pod, V1ResourceRequirements } from "@kubernetes/client-node";
import { Problem } from "../../core/problems.ts";
import { type Conf, NO_SPEC, type SessionSpec } from "../../core/spec.ts";
import { plain } from "../conf.ts";
import { sparkLaunch } from "../spark.ts";
import { templatesOf } from "./driver.ts";
import { quantity } from "./quantity.ts";
import { type PodRole, podMemoryMib } from "./resources.ts";
import type { PodSettings } from "./settings.ts";
import { overlay, templateKey } from "./template.ts";

/** What is counted of a container: of these sides the first that is there. */
interface Measure {
  readonly resource: "memory" | "cpu";
  readonly sides: readonly ("limits" | "requests")[];
}
const MEMORY: Measure = { resource: "memory", sides: ["limits", "requests"] };
const CORES_ASKED: Measure = { resource: "cpu", sides: ["requests", "limits"] };
const CORES_GIVEN: Measure = { resource: "cpu", sides: ["limits"] };

/** A pod of a role and the conf that sizes its own container. */
interface Layers {
  readonly pod: V1Pod;
  readonly conf: Conf;
}

/** With the session's wishes, and without them. */
interface Compared {
  readonly role: PodRole;
  readonly preset: string;
  /** The session's own template. */
  readonly own: V1Pod;
  readonly asked: Layers;
  readonly bare: Layers;
}

/**
 * Whether a session keeps to its preset's limits on memory and cores with the containers that its own templates bring: all of a pod
 * together may take as much as that of a session that asks for the limit and brings no template. Those of the operator's and the
 * preset's templates come on top.
 * @param spec its conf canonical, templates inline
 * @throws Problem SPEC_REFUSED that names the limit
 */
export const checkTemplateLimits = (spec: SessionSpec, settings: PodSettings): void => {
  const { preset } = spec;
  for (const role of ["driver", "executor"] as const) {
    if (preset === undefined || spec.conf[templateKey(role)] === undefined) continue;
    const compared = comparedOf(role, spec, preset, settings);
    const memory = preset.limits[`${role}Memory`];
    const cores = preset.limits[`${role}Cores`];
    if (memory !== null) checkMemory(compared, memory);
    if (cores !== 0) checkCores(compared, cores);
  }
};

const comparedOf = (role: PodRole, spec: SessionSpec, preset: { readonly name: string }, settings: PodSettings): Compared => {
  const templates = templatesOf(spec, role);
  const podOf = (own: readonly V1Pod[]) => [settings[`${role}Template`] ?? {}, ...own].reduce(overlay);
  const confOf = (one: SessionSpec) => plain(sparkLaunch(0, one, settings.spark).conf);
  return {
    role,
    preset: preset.name,
    own: templates.at(-1) ?? {},
    asked: { pod: podOf(templates), conf: confOf(spec) },
    bare: { pod: podOf(templates.slice(0, -1)), conf: confOf({ ...spec, ...BARE }) },
  };
};

const { driverMemory, driverCores, executorMemory, executorCores, numExecutors, conf } = NO_SPEC;
/** A session that wishes for no size. */
const BARE = { driverMemory, driverCores, executorMemory, executorCores, numExecutors, conf };

const refuse = (why: string): Problem => new Problem("SPEC_REFUSED", `Rejected, Reason: ${why}`);

const MIB = 1_024 ** 2;

const checkMemory = ({ role, preset, own, asked, bare }: Compared, limit: string): void => {
  const unbounded = others(own).find(({ resources }) => resources?.limits?.["memory"] === undefined);
  if (unbounded !== undefined)
    throw refuse(
      `${templateKey(role)}: container '${unbounded.name}' needs resources.limits.memory, for preset '${preset}' has a limit of ${limit} on ${role}Memory`,
    );
  const all = podTakes(asked.pod, podMemoryMib(role, asked.conf) * MIB, MEMORY);
  const most = podTakes(bare.pod, podMemoryMib(role, { ...bare.conf, [`spark.${role}.memory`]: limit }) * MIB, MEMORY);
  const shown = (bytes: number) => `${Math.ceil(bytes / MIB)}m`;
  if (all > most)
    throw refuse(
      `${role}Memory with its overhead and the other containers of its pod, ${shown(all)}, is over preset '${preset}' limit of ${limit} (${shown(most)} in all)`,
    );
};

const checkCores = ({ role, preset, asked, bare }: Compared, limit: number): void => {
  const requested = ({ conf }: Layers) => quantity(conf[`spark.kubernetes.${role}.request.cores`] ?? conf[`spark.${role}.cores`] ?? "1");
  const given = ({ pod, conf }: Layers) => {
    const text = conf[`spark.kubernetes.${role}.limit.cores`];
    return text === undefined ? taken(pod.spec?.containers[0], CORES_GIVEN) : quantity(text);
  };
  for (const [measure, all, most] of [
    [CORES_ASKED, requested(asked), limit],
    // What the operator gives every driver is nothing that a session asks for.
    [CORES_GIVEN, given(asked), Math.max(limit, given(bare))],
  ] as const) {
    const cores = podTakes(asked.pod, all, measure);
    if (milli(cores) > milli(podTakes(bare.pod, most, measure)))
      throw refuse(
        `${role}Cores with the other containers of its pod, ${milli(cores) / 1_000}, is over preset '${preset}' limit of ${limit}`,
      );
  }
};

const milli = (cores: number): number => Math.round(cores * 1_000);

/** Containers besides the role's own. */
const others = ({ spec }: V1Pod): readonly V1Container[] => [...(spec?.containers ?? []).slice(1), ...(spec?.initContainers ?? [])];

/**
 * What a pod takes at most at one time, its role's own container so much: what runs together, or one of those that run before it, each
 * with the sidecars that were begun before that (Kubernetes, "Resource sharing within containers").
 */
const podTakes = ({ spec }: V1Pod, role: number, measure: Measure): number => {
  let sidecars = 0;
  let before = 0;
  for (const container of spec?.initContainers ?? []) {
    const takes = taken(container, measure);
    before = Math.max(before, sidecars + takes);
    if (container.restartPolicy === "Always") sidecars += takes;
  }
  const together = (spec?.containers ?? []).slice(1).reduce((sum, container) => sum + taken(container, measure), role + sidecars);
  return Math.max(before, together, taken({ name: "the pod", ...spec }, measure));
};

/** 0 when it says nothing of that. @throws Problem SPEC_REFUSED for what is no quantity */
const taken = (
  of: { readonly name: string; readonly resources?: V1ResourceRequirements } | undefined,
  { resource, sides }: Measure,
): number => {
  for (const side of sides) {
    const text: unknown = of?.resources?.[side]?.[resource];
    if (text === undefined) continue;
    // YAML has numbers where Kubernetes reads quantities.
    const amount = quantity(String(text));
    if (Number.isNaN(amount)) throw refuse(`resources.${side}.${resource} '${text}' of ${of?.name} is no quantity`);
    return amount;
  }
  return 0;
};
