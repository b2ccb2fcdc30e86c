import type { V1Container, V1Pod, V1PodSpec } from "@kubernetes/client-node";
import { Type } from "typebox";
import { Check, Errors } from "typebox/value";
import { Problem } from "../../core/problems.ts";
import type { Conf } from "../../core/spec.ts";

/** The parts of a template that are read here; the API server checks the rest when the pod is made. */
const name = Type.String({ minLength: 1 });
const Texts = Type.Record(Type.String(), Type.String());
const Any = Type.Object({});
const Container = Type.Object({
  name,
  env: Type.Optional(Type.Array(Type.Object({ name, valueFrom: Type.Optional(Any) }))),
  envFrom: Type.Optional(Type.Array(Any)),
  ports: Type.Optional(Type.Array(Any)),
  volumeMounts: Type.Optional(Type.Array(Type.Object({ name }))),
});
const Volume = Type.Object({
  name,
  hostPath: Type.Optional(Type.Object({ path: Type.String() })),
  projected: Type.Optional(Type.Object({ sources: Type.Optional(Type.Array(Any)) })),
});
const Template = Type.Object({
  kind: Type.Optional(Type.Literal("Pod")),
  metadata: Type.Optional(Type.Object({ labels: Type.Optional(Texts), annotations: Type.Optional(Texts) })),
  spec: Type.Optional(
    Type.Object({
      containers: Type.Optional(Type.Array(Container)),
      initContainers: Type.Optional(Type.Array(Container)),
      volumes: Type.Optional(Type.Array(Volume)),
      imagePullSecrets: Type.Optional(Type.Array(Type.Object({ name: Type.Optional(Type.String()) }))),
      tolerations: Type.Optional(Type.Array(Any)),
      nodeSelector: Type.Optional(Texts),
    }),
  ),
});

/** How a template's text becomes a value; a server without templates loads no YAML. */
export type ParseYaml = (text: string) => unknown;

/** To Kubernetes a field that is null is not there. */
function withoutNull(this: unknown, _key: string, item: unknown): unknown {
  return Array.isArray(this) ? item : (item ?? undefined);
}

/**
 * A pod from YAML or JSON text.
 * @throws Error that says what is wrong with it
 */
export const parseTemplate = (text: string, parse: ParseYaml): V1Pod => {
  let value: unknown;
  try {
    value = JSON.parse(JSON.stringify(parse(text)), withoutNull);
  } catch (error) {
    throw new Error(`it is no YAML: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}`);
  }
  if (!Check(Template, value)) {
    const [first] = Errors(Template, value);
    throw new Error(`${first?.instancePath || "it"} ${first?.message ?? "is malformed"}`);
  }
  // Checked as far as it is read here; what it holds besides is passed on to the API server, which checks it.
  return value as V1Pod;
};

const FILE_KEYS = { driver: "spark.kubernetes.driver.podTemplateFile", executor: "spark.kubernetes.executor.podTemplateFile" } as const;
const CONTAINER_KEYS = {
  driver: "spark.kubernetes.driver.podTemplateContainerName",
  executor: "spark.kubernetes.executor.podTemplateContainerName",
} as const;
export type TemplateRole = keyof typeof FILE_KEYS;
export const templateKey = (role: TemplateRole): string => FILE_KEYS[role];

export const containerKey = (role: TemplateRole): string => CONTAINER_KEYS[role];

/** Keys that the server reads in place of Spark. */
export const isTemplateKey = (key: string): boolean => TEMPLATE_KEYS.has(key);
const TEMPLATE_KEYS: ReadonlySet<string> = new Set([...Object.values(FILE_KEYS), ...Object.values(CONTAINER_KEYS)]);

/** Whether a conf value is a template itself and not where one is. */
export const isInline = (value: string): boolean => /^\s*\{/.test(value) || value.includes("\n");

/**
 * A session's or a preset's template; its first container is the one of the role, as Spark picks it.
 * @throws Error that says what is wrong with it; Problem SPEC_REFUSED when the container that the conf names is not there
 */
export const readTemplate = (text: string, role: TemplateRole, conf: Conf, parse: ParseYaml): V1Pod =>
  withRoleFirst(parseTemplate(text, parse), role, conf);

const withRoleFirst = (template: V1Pod, role: TemplateRole, conf: Conf): V1Pod => {
  const name = conf[CONTAINER_KEYS[role]];
  const containers = template.spec?.containers ?? [];
  const chosen = name === undefined ? containers[0] : containers.find((container) => container.name === name);
  if (name !== undefined && chosen === undefined)
    throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${CONTAINER_KEYS[role]}: the template has no container '${name}'`);
  if (chosen === undefined) return template;
  return { ...template, spec: { ...template.spec, containers: [chosen, ...containers.filter((other) => other !== chosen)] } };
};

const byName = <Item extends { name?: string }>(base: readonly Item[] = [], over: readonly Item[] = []): Item[] => [
  ...base.filter((item) => !over.some((other) => other.name === item.name)),
  ...over,
];

/** Merged as the rest of the house overlays settings: what `over` says goes before, lists of named things are joined by name. */
const overlayContainer = (base: V1Container, over: Omit<V1Container, "name"> & { name: string }): V1Container => ({
  ...base,
  ...over,
  env: byName(base.env, over.env),
  envFrom: [...(base.envFrom ?? []), ...(over.envFrom ?? [])],
  ports: [...(base.ports ?? []), ...(over.ports ?? [])],
  volumeMounts: [...(base.volumeMounts ?? []), ...(over.volumeMounts ?? [])],
  resources: {
    requests: { ...base.resources?.requests, ...over.resources?.requests },
    limits: { ...base.resources?.limits, ...over.resources?.limits },
  },
  securityContext: { ...base.securityContext, ...over.securityContext },
});

/** One pod laid over another; the first container of each is the role's. Of the metadata labels and annotations are taken. */
export const overlay = (base: V1Pod, over: V1Pod): V1Pod => {
  const [baseFirst, ...baseRest] = base.spec?.containers ?? [];
  const [overFirst, ...overRest] = over.spec?.containers ?? [];
  const first = baseFirst === undefined ? overFirst : overFirst === undefined ? baseFirst : overlayContainer(baseFirst, overFirst);
  const spec: V1PodSpec = {
    ...base.spec,
    ...over.spec,
    containers: [...(first === undefined ? [] : [first]), ...byName(baseRest, overRest)],
    volumes: byName(base.spec?.volumes, over.spec?.volumes),
    tolerations: [...(base.spec?.tolerations ?? []), ...(over.spec?.tolerations ?? [])],
    nodeSelector: { ...base.spec?.nodeSelector, ...over.spec?.nodeSelector },
    imagePullSecrets: byName(base.spec?.imagePullSecrets, over.spec?.imagePullSecrets),
    securityContext: { ...base.spec?.securityContext, ...over.spec?.securityContext },
  };
  const initContainers = byName(base.spec?.initContainers, over.spec?.initContainers);
  if (initContainers.length > 0) spec.initContainers = initContainers;
  return {
    metadata: {
      labels: { ...base.metadata?.labels, ...over.metadata?.labels },
      annotations: { ...base.metadata?.annotations, ...over.metadata?.annotations },
    },
    spec,
  };
};
