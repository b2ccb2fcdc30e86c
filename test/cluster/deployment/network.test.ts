import { loadAllYaml, type V1NetworkPolicy, type V1NetworkPolicyPeer } from "@kubernetes/client-node";
import { beforeAll, describe, expect, test } from "vitest";
import { PORTS } from "../../../src/launch/kubernetes/pod.ts";
import { kubectl } from "../../kit/kubectl.ts";

/** A pod as policies see it. */
interface Pod {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}
type Selector = { matchLabels?: Record<string, string>; matchExpressions?: { key: string; operator: string; values?: string[] }[] };

const PODS = {
  server: { namespace: "longwick", labels: { "app.kubernetes.io/name": "longwick", "app.kubernetes.io/component": "server" } },
  beside: { namespace: "longwick", labels: { app: "another" } },
  driver: { namespace: "longwick-sessions", labels: { "app.kubernetes.io/name": "longwick", "spark-role": "driver" } },
  otherDriver: { namespace: "longwick-sessions", labels: { "app.kubernetes.io/name": "longwick", "spark-role": "driver" } },
  executor: { namespace: "longwick-sessions", labels: { "app.kubernetes.io/name": "longwick", "spark-role": "executor" } },
  ingress: { namespace: "ingress-nginx", labels: { app: "ingress" } },
  stranger: {
    namespace: "default",
    labels: { "app.kubernetes.io/name": "longwick", "app.kubernetes.io/component": "server", "spark-role": "driver" },
  },
} as const satisfies Record<string, Pod>;
const NAMESPACES: Readonly<Record<string, Readonly<Record<string, string>>>> = { "ingress-nginx": { "longwick/clients": "true" } };
const HTTP = 8998;

const fits = (selector: Selector, labels: Readonly<Record<string, string>>): boolean =>
  Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
  (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    if (operator !== "In") throw new Error(`not known here: ${operator}`);
    return values.includes(labels[key] ?? "");
  });

const isPeer = (peer: V1NetworkPolicyPeer, from: Pod, home: string): boolean => {
  const labels = { ...NAMESPACES[from.namespace], "kubernetes.io/metadata.name": from.namespace };
  const inPlace = peer.namespaceSelector === undefined ? from.namespace === home : fits(peer.namespaceSelector as Selector, labels);
  return inPlace && (peer.podSelector === undefined || fits(peer.podSelector as Selector, from.labels));
};

/** Whether the policies let one pod connect to another, by Kubernetes' rules for ingress: those that choose the pod are added up. */
const reaches = (policies: readonly V1NetworkPolicy[], from: Pod, to: Pod, port: number): boolean => {
  const chosen = policies.filter(
    ({ metadata, spec }) => metadata?.namespace === to.namespace && fits((spec?.podSelector ?? {}) as Selector, to.labels),
  );
  if (chosen.length === 0) return true;
  return chosen.some(({ spec }) =>
    (spec?.ingress ?? []).some(
      ({ _from = [], ports = [] }) =>
        (ports.length === 0 || ports.some((one) => (one.port === "http" ? HTTP : Number(one.port)) === port)) &&
        _from.some((peer) => isPeer(peer, from, to.namespace)),
    ),
  );
};

/** Of the manifests alone: whether a cluster enforces them is its network's matter. */
describe("the network policies", () => {
  let policies: readonly V1NetworkPolicy[];
  beforeAll(async () => {
    const objects = loadAllYaml(await kubectl(["kustomize", "docker/kubernetes"])) as { kind: string }[];
    // Kubernetes' `from` is a word of another language in the client's types.
    policies = objects
      .filter(({ kind }) => kind === "NetworkPolicy")
      .map((policy) => JSON.parse(JSON.stringify(policy).replaceAll('"from":', '"_from":')) as V1NetworkPolicy);
  });

  test.for([
    ["server", "driver", PORTS.link, true],
    ["server", "driver", PORTS.ui, false],
    ["server", "driver", PORTS.driver, false],
    ["executor", "driver", PORTS.driver, true],
    ["executor", "driver", PORTS.blockManager, true],
    ["executor", "driver", PORTS.link, false],
    ["executor", "driver", PORTS.ui, false],
    ["otherDriver", "driver", PORTS.link, false],
    ["otherDriver", "driver", PORTS.driver, false],
    ["beside", "driver", PORTS.link, false],
    ["stranger", "driver", PORTS.link, false],
    ["stranger", "driver", PORTS.ui, false],
    ["driver", "executor", 41_000, true],
    ["executor", "executor", 41_000, true],
    ["server", "executor", 41_000, false],
    ["stranger", "executor", 41_000, false],
    ["ingress", "server", HTTP, true],
    ["ingress", "server", 9_000, false],
    ["driver", "server", HTTP, false],
    ["executor", "server", HTTP, false],
    ["stranger", "server", HTTP, false],
  ] as const)("%s to %s, port %i: %s", ([from, to, port, allowed]) => {
    expect(reaches(policies, PODS[from], PODS[to], port)).toBe(allowed);
  });
});
