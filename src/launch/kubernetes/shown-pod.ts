import type { V1Container, V1Pod } from "@kubernetes/client-node";
import { redactValue } from "../../core/redaction.ts";
import { SPEC_ANNOTATION } from "./names.ts";

type Texts = Readonly<Record<string, string>>;

/** What a conf or a template may have put into a pod: plain values of variables, labels and annotations that speak of a secret. */
export const shownPod = (pod: V1Pod): V1Pod => {
  const { metadata = {}, spec } = pod;
  const { labels, annotations } = metadata;
  const shownMetadata = {
    ...metadata,
    ...(labels === undefined ? {} : { labels: shownTexts(labels) }),
    ...(annotations === undefined ? {} : { annotations: shownTexts(annotations) }),
  };
  if (spec === undefined) return { ...pod, metadata: shownMetadata };
  const { containers, initContainers } = spec;
  const shownSpec = {
    ...spec,
    containers: containers.map(shownContainer),
    ...(initContainers === undefined ? {} : { initContainers: initContainers.map(shownContainer) }),
  };
  return { ...pod, metadata: shownMetadata, spec: shownSpec };
};

const shownTexts = (texts: Texts): Record<string, string> =>
  // The spec in the annotation has no secrets any more.
  Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, name === SPEC_ANNOTATION ? text : redactValue(name, text)]));

const shownContainer = (container: V1Container): V1Container => {
  if (container.env === undefined) return container;
  const env = container.env.map((variable) =>
    variable.value === undefined ? variable : { ...variable, value: redactValue(variable.name, variable.value) },
  );
  return { ...container, env };
};
