import { describe, expect, test } from "vitest";
import { admit } from "../../../src/launch/kubernetes/admission.ts";
import { readAllowRule } from "../../../src/launch/kubernetes/policy.ts";
import { specOf } from "../contract.ts";
import { SETTINGS } from "./parts.ts";

const KEY = "spark.kubernetes.driver.podTemplateFile";
const admitted = (template: string, ...allow: readonly string[]) =>
  admit(
    { owner: "ada", spec: specOf({ conf: { [KEY]: template } }), notes: [] },
    { ...SETTINGS, allow: ["podTemplate=inline", ...allow].map(readAllowRule) },
    AbortSignal.timeout(5_000),
  );

describe("an inline template", () => {
  test("is read as kubectl reads it, and kept as JSON", async () => {
    const template = `
apiVersion: v1
kind: Pod
spec:
  volumes:
    - name: scripts
      configMap: {name: scripts, defaultMode: 0555}
`;
    const { spec, plan } = await admitted(template, "configMap=scripts");
    const volume = { name: "scripts", configMap: { name: "scripts", defaultMode: 0o555 } };
    expect(JSON.parse(spec.conf[KEY] ?? "")).toMatchObject({ spec: { volumes: [volume] } });
    expect(plan.workload["pod"]).toMatchObject({ spec: { volumes: expect.arrayContaining([volume]) } });
  });

  test("keeps what Kubernetes knows and this server does not", async () => {
    const { plan } = await admitted(
      "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    - {name: driver, lately: {added: 1}}\n",
      "securityContext",
    );
    expect(plan.workload["pod"]).toMatchObject({ spec: { containers: [{ lately: { added: 1 } }] } });
  });

  test("may leave lists empty, as templates of templates do", async () => {
    const empty = "metadata:\n  labels:\nspec:\n  volumes:\n  containers:\n    - name: driver\n      env:\n";
    const { spec } = await admitted(empty);
    expect(JSON.parse(spec.conf[KEY] ?? "")).toEqual({ metadata: {}, spec: { containers: [{ name: "driver" }] } });
  });

  test.each([
    ["spec:\n  containers: no", /containers must be array/],
    ["metadata:\n  labels: {spot: yes}", /labels\/spot must be string/],
    ["spec:\n  containers: [{name: a, env: {A: b}}]", /containers\/0\/env must be array/],
    ["spec:\n  containers: [{name: a, ports: [~]}]", /containers\/0\/ports\/0 must be object/],
    ["spec:\n  containers: [{name: a, volumeMounts: [{}]}]", /volumeMounts\/0 must have required properties name/],
    ["spec:\n  tolerations: all", /tolerations must be array/],
    ["spec:\n  volumes: [{name: v, hostPath: {}}]", /hostPath must have required properties path/],
    ["spec:\n  volumes: [{name: v, projected: {sources: {}}}]", /sources must be array/],
  ])("that is none is refused with the reason: %j", async (template, why) => {
    await expect(admitted(template)).rejects.toMatchObject({ code: "SPEC_REFUSED", message: expect.stringMatching(why) });
  });
});
