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
    expect(plan.pod.spec?.volumes).toContainEqual(volume);
  });

  test("keeps what Kubernetes knows and this server does not", async () => {
    const { plan } = await admitted(
      "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    - {name: driver, lately: {added: 1}}\n",
      "securityContext",
    );
    expect(plan.pod.spec?.containers[0]).toMatchObject({ lately: { added: 1 } });
  });

  test.each([
    ["spec:\n  containers: no", /containers must be array/],
    ["metadata:\n  labels: {spot: yes}", /labels\/spot must be string/],
  ])("that is none is refused with the reason: %j", async (template, why) => {
    await expect(admitted(template)).rejects.toMatchObject({ code: "SPEC_REFUSED", message: expect.stringMatching(why) });
  });
});
