import { describe, expect, test } from "vitest";
import { canonicalConf } from "../../../src/launch/conf.ts";
import { checkPolicy, readAllowRule } from "../../../src/launch/kubernetes/policy.ts";

const check =
  (conf: Record<string, string>, ...allow: string[]) =>
  () =>
    checkPolicy(canonicalConf(conf), [], allow.map(readAllowRule));
const template =
  (pod: object, ...allow: string[]) =>
  () =>
    checkPolicy(
      {},
      [{ key: "spark.kubernetes.driver.podTemplateFile", source: "inline", pod }],
      ["podTemplate", ...allow].map(readAllowRule),
    );
const naming = (text: string) => expect.objectContaining({ code: "SPEC_REFUSED", message: expect.stringContaining(text) });

describe("without a rule", () => {
  test("sizes, env, labels, annotations, selectors, emptyDir, PVC and ephemeral volumes are free", () => {
    const conf = {
      "spark.driver.memory": "2g",
      "spark.kubernetes.driver.request.cores": "1",
      "spark.kubernetes.driverEnv.A": "1",
      "spark.kubernetes.driver.label.team": "blue",
      "spark.kubernetes.executor.annotation.example.org/a": "b",
      "spark.kubernetes.node.selector.disk": "ssd",
      "spark.kubernetes.driver.volumes.emptyDir.a.mount.path": "/a",
      "spark.kubernetes.executor.volumes.persistentVolumeClaim.b.mount.path": "/b",
      "spark.kubernetes.executor.volumes.persistentVolumeClaim.b.options.claimName": "OnDemand",
      "spark.kubernetes.container.image.pullPolicy": "Always",
      "spark.dynamicAllocation.enabled": "true",
      "spark.kubernetes.securityContext.allowPrivilegeEscalation": "false",
    };
    expect(check(conf)).not.toThrow();
  });

  test.each([
    ["namespace", { "spark.kubernetes.namespace": "other" }],
    ["serviceAccount", { "spark.kubernetes.authenticate.driver.serviceAccountName": "admin" }],
    ["serviceAccount", { "spark.kubernetes.authenticate.executor.serviceAccountName": "admin" }],
    ["image", { "spark.kubernetes.container.image": "evil:1" }],
    ["image", { "spark.kubernetes.executor.container.image": "evil:1" }],
    ["scheduler", { "spark.kubernetes.scheduler.name": "mine" }],
    ["configMap", { "spark.kubernetes.executor.hadoopConfigMapName": "others" }],
    ["securityContext", { "spark.kubernetes.securityContext.allowPrivilegeEscalation": "true" }],
    ["securityContext", { "spark.kubernetes.driver.securityContext.allowPrivilegeEscalation": "TRUE" }],
    ["securityContext", { "spark.kubernetes.executor.securityContext.allowPrivilegeEscalation": "true" }],
    ["securityContext", { "spark.kubernetes.driver.annotation.container.apparmor.security.beta.kubernetes.io/x": "unconfined" }],
    ["secret", { "spark.kubernetes.driver.secrets.vault": "/vault" }],
    ["secret", { "spark.kubernetes.executor.secretKeyRef.A": "vault:a" }],
    ["secret", { "spark.kubernetes.container.image.pullSecrets": "vault" }],
    [
      "hostPath",
      { "spark.kubernetes.driver.volumes.hostPath.a.mount.path": "/a", "spark.kubernetes.driver.volumes.hostPath.a.options.path": "/" },
    ],
    [
      "hostPath",
      { "spark.kubernetes.executor.volumes.hostPath.a.mount.path": "/a", "spark.kubernetes.executor.volumes.hostPath.a.options.path": "/" },
    ],
    [
      "nfs",
      {
        "spark.kubernetes.driver.volumes.nfs.a.mount.path": "/a",
        "spark.kubernetes.driver.volumes.nfs.a.options.path": "/x",
        "spark.kubernetes.driver.volumes.nfs.a.options.server": "s",
      },
    ],
  ])("%s is refused by the rule's name: %j", (rule, conf) => {
    expect(check(conf)).toThrow(naming(`'${rule}'`));
    expect(check(conf, rule)).not.toThrow();
    expect(check({ ...conf, " spark.kubernetes.x ": "1" })).toThrow();
  });

  test.each([
    ["spark.driver.host"],
    ["spark.kubernetes.driver.pod.name"],
    ["spark.kubernetes.driver.service.annotation.a"],
    ["spark.kubernetes.driver.pod.featureSteps"],
    ["spark.kubernetes.hadoop.configMapName"],
    ["spark.kubernetes.driver.label.spark-role"],
    ["spark.kubernetes.executor.label.longwick/session"],
    ["spark.kubernetes.driver.label.app.kubernetes.io/instance"],
  ])("%s is impossible, and the refusal says why", (key) => {
    expect(check({ [key]: "x" })).toThrow(naming(`${key} cannot be set: `));
  });
});

describe("a rule", () => {
  test.each([
    ["image=repo/spark:*", "repo/spark:4", true],
    ["image=repo/spark:*", "repo/sparkle:4", false],
    ["image=repo/spark:*", "evil/repo/spark:4", false],
    ["image=repo/sp.rk:1", "repo/spark:1", false],
  ])("%s lets %s pass: %s", (rule, image, passes) => {
    const checked = check({ "spark.kubernetes.container.image": image }, rule);
    if (passes) expect(checked).not.toThrow();
    else expect(checked).toThrow(naming(image));
  });

  test.each([
    ["/data", true],
    ["/data/a/b", true],
    ["/database", false],
    ["/data/../etc", false],
    ["/", false],
  ])("hostPath=/data lets %s pass: %s", (path, passes) => {
    const at = "spark.kubernetes.driver.volumes.hostPath.a";
    const checked = check({ [`${at}.mount.path`]: "/a", [`${at}.options.path`]: path }, "hostPath=/data");
    if (passes) expect(checked).not.toThrow();
    else expect(checked).toThrow(naming("hostPath"));
  });

  test("that nobody knows is refused with those there are", () => {
    expect(() => readAllowRule("everything")).toThrow(/'everything' is no rule; there are namespace=NAME/);
  });
});

describe("a key", () => {
  test("is looked at in the spelling that Spark reads", () => {
    expect(check({ " spark.kubernetes.namespace\t": "other" })).toThrow(naming("'namespace'"));
    expect(canonicalConf({ "spark.yarn.driver.memoryOverhead": "1g" })).toEqual({ "spark.driver.memoryOverhead": "1g" });
    expect(() => canonicalConf({ "spark.a": "1", "spark.a ": "2" })).toThrow(naming("spark.a"));
  });
});

describe("a template", () => {
  const container = { name: "spark" };
  test("may say what is free", () => {
    const spec = {
      containers: [
        {
          ...container,
          env: [{ name: "A", value: "1" }],
          startupProbe: { httpGet: { port: 80 } },
          lifecycle: { preStop: { sleep: { seconds: 1 } } },
        },
      ],
      tolerations: [{ key: "spot" }],
      nodeSelector: { a: "b" },
      affinity: {},
    };
    expect(template({ metadata: { labels: { a: "b" } }, spec })).not.toThrow();
  });

  test.each([
    ["image", { containers: [{ ...container, image: "evil:1" }] }],
    ["image", { containers: [container, { name: "side", image: "evil:1" }] }],
    ["image", { containers: [container], initContainers: [{ name: "init", image: "evil:1" }] }],
    ["securityContext", { containers: [{ ...container, securityContext: { privileged: true } }] }],
    ["securityContext", { containers: [{ ...container, ports: [{ containerPort: 1, hostPort: 1 }] }] }],
    ["securityContext", { containers: [container], securityContext: { runAsUser: 0 } }],
    ["securityContext", { containers: [container], hostNetwork: true }],
    ["securityContext", { containers: [container], hostUsers: false }],
    ["securityContext", { containers: [{ ...container, lately: {} }] }],
    ["securityContext", { containers: [{ ...container, livenessProbe: { httpGet: { host: "169.254.169.254", port: 80 } } }] }],
    ["securityContext", { containers: [{ ...container, startupProbe: { tcpSocket: { host: "10.0.0.1", port: 22 } } }] }],
    ["securityContext", { containers: [{ ...container, lifecycle: { postStart: { httpGet: { host: "10.0.0.1", port: 80 } } } }] }],
    ["priority", { containers: [container], priorityClassName: "urgent" }],
    ["scheduler", { containers: [container], nodeName: "node-1" }],
    ["serviceAccount", { containers: [container], serviceAccount: "admin" }],
    // Both mean the namespace's `default`.
    ["serviceAccount", { containers: [container], serviceAccountName: "" }],
    ["serviceAccount", { containers: [container], serviceAccountName: null }],
    ["secret", { containers: [{ ...container, envFrom: [{ secretRef: { name: "vault" } }] }] }],
    ["secret", { containers: [container], volumes: [{ name: "v", projected: { sources: [{ secret: { name: "vault" } }] } }] }],
    ["volume", { containers: [container], volumes: [{ name: "v", csi: { driver: "x" } }] }],
    ["volume", { containers: [container], volumes: [{ name: "v", projected: { sources: [{ serviceAccountToken: { path: "t" } }] } }] }],
    ["configMap", { containers: [container], volumes: [{ name: "v", configMap: { name: "c" } }] }],
    ["hostPath", { containers: [container], volumes: [{ name: "v", hostPath: { path: "/" } }] }],
  ])("needs the rule '%s' for %j", (rule, spec) => {
    expect(template({ spec })).toThrow(naming(`'${rule}'`));
    expect(template({ spec }, rule)).not.toThrow();
  });

  test("needs the rule 'securityContext' for an annotation that is one in older words", () => {
    const pod = { metadata: { annotations: { "container.apparmor.security.beta.kubernetes.io/spark": "unconfined" } } };
    expect(template(pod)).toThrow(naming("'securityContext'"));
    expect(template(pod, "securityContext")).not.toThrow();
  });

  test("cannot take the labels that pods are found by", () => {
    expect(template({ metadata: { labels: { "spark-app-tag": "x" } } })).toThrow(naming("spark-app-tag"));
  });
});
