import { describe, expect, test } from "vitest";
import type { Conf, PresetLimits, SessionSpec } from "../../../src/core/spec.ts";
import { admit } from "../../../src/launch/kubernetes/admission.ts";
import { NO_LIMITS, specOf } from "../contract.ts";
import { SETTINGS } from "./parts.ts";

interface Asked {
  /** The session's own template of the driver, or of executors. */
  readonly template: object;
  readonly role?: "driver" | "executor";
  readonly spec?: Partial<SessionSpec>;
  readonly conf?: Conf;
  /** The preset's template. */
  readonly preset?: object;
}

/** What a session of a preset with these limits is answered. */
const answer = async (
  limits: Partial<PresetLimits>,
  { template, role = "driver", spec = {}, conf = {}, preset }: Asked,
): Promise<string> => {
  const key = `spark.kubernetes.${role}.podTemplateFile`;
  const own = { name: "small", conf: preset === undefined ? {} : { [key]: JSON.stringify(preset) }, limits: { ...NO_LIMITS, ...limits } };
  const asked = specOf({ ...spec, preset: own, conf: { ...conf, [key]: JSON.stringify(template) } });
  const rules = ["podTemplate", "image", "securityContext"] as const;
  const settings = { ...SETTINGS, allow: rules.map((rule) => ({ rule, pattern: null })) };
  try {
    await admit({ owner: null, spec: asked, notes: [] }, settings, AbortSignal.timeout(5_000));
    return "admitted";
  } catch (error) {
    return error instanceof Error ? error.message.replace("Rejected, Reason: ", "") : String(error);
  }
};

const container = (name: string, limits?: object, requests?: object) => ({
  ...{ name, image: "side:1" },
  resources: { ...(limits === undefined ? {} : { limits }), ...(requests === undefined ? {} : { requests }) },
});
const MAIN = { name: "driver" };
const beside = (...containers: readonly object[]) => ({ spec: { containers: [MAIN, ...containers] } });
const first = (...initContainers: readonly object[]) => ({ spec: { containers: [MAIN], initContainers } });

describe("a limit on memory counts a template's containers", () => {
  const limits = { driverMemory: "4g" };
  const small = { driverMemory: "2g" };
  const over = (mib: number) =>
    `driverMemory with its overhead and the other containers of its pod, ${mib}m, is over preset 'small' limit of 4g (5735m in all)`;

  test.each([
    ["within it", beside(container("side", { memory: "2Gi" })), "admitted"],
    ["all of them", beside(container("a", { memory: "2Gi" }), container("b", { memory: 1024 ** 3 })), over(2868 + 3072)],
    ["one that is huge", beside(container("side", { memory: "100Gi" })), over(2868 + 102_400)],
    ["sidecars", first({ ...container("side", { memory: "3Gi" }), restartPolicy: "Always" }), over(2868 + 3072)],
    ["what runs before it alone as far as it is more", first(container("prepare", { memory: "5Gi" })), "admitted"],
    ["what runs before it", first(container("prepare", { memory: "6Gi" })), over(6144)],
    ["what the pod asks for as a whole", { spec: { containers: [MAIN], resources: { requests: { memory: "8Gi" } } } }, over(8192)],
    ["none of its own container, which the conf sizes", { spec: { containers: [container("driver", { memory: "64Gi" })] } }, "admitted"],
  ])("%s", async (_, template, expected) => {
    expect(await answer(limits, { template, spec: small })).toBe(expected);
  });

  test.each([
    ["beside it", beside(container("side"))],
    ["before it", first(container("side", {}, { memory: "1Mi" }))],
  ])("which each must have one: %s", async (_, template) => {
    expect(await answer(limits, { template, spec: small })).toBe(
      "spark.kubernetes.driver.podTemplateFile: container 'side' needs resources.limits.memory, for preset 'small' has a limit of 4g on driverMemory",
    );
  });

  test("that can be read", async () => {
    expect(await answer(limits, { template: beside(container("side", { memory: "lots" })), spec: small })).toMatch(
      /^resources\.limits\.memory 'lots' of side is no quantity$/,
    );
  });

  test("but not those of the operator's", async () => {
    const preset = beside(container("proxy", { memory: "8Gi" }), container("unbounded"));
    expect(await answer(limits, { template: beside(container("side", { memory: "2Gi" })), spec: small, preset })).toBe("admitted");
    expect(await answer(limits, { template: beside(container("proxy", { memory: "8Gi" })), spec: small, preset })).toBe("admitted");
    expect(await answer(limits, { template: beside(container("proxy", { memory: "16Gi" })), spec: small, preset })).toMatch(/ is over /);
  });

  test("of executors as well", async () => {
    const template = beside(container("side", { memory: "8Gi" }));
    expect(await answer({ executorMemory: "4g" }, { template, role: "executor" })).toMatch(
      /^executorMemory with its overhead and the other containers of its pod, 9600m, is over preset 'small' limit of 4g \(4506m in all\)$/,
    );
    expect(await answer({ executorMemory: "4g" }, { template, role: "driver" })).toBe("admitted");
  });

  test("where there is one", async () => {
    expect(await answer({ executorMemory: "4g", driverCores: 1 }, { template: beside(container("side", { memory: "90Gi" })) })).toBe(
      "admitted",
    );
  });
});

describe("a limit on cores counts a template's containers", () => {
  const limits = { driverCores: 2 };
  const over = (cores: string) => `driverCores with the other containers of its pod, ${cores}, is over preset 'small' limit of 2`;

  test.each([
    ["what they ask for", beside(container("side", {}, { cpu: "1" })), {}, "admitted"],
    ["all of it", beside(container("side", {}, { cpu: "600m" }), container("more", {}, { cpu: 0.5 })), {}, over("2.1")],
    ["what they are given", beside(container("side", { cpu: "1500m" })), {}, over("2.5")],
    [
      "what they are given beside the driver's",
      beside(container("side", { cpu: "1" }, { cpu: "1m" })),
      { "spark.kubernetes.driver.limit.cores": "1500m" },
      over("2.5"),
    ],
    ["what its own container is given", { spec: { containers: [container("driver", { cpu: "8" })] } }, {}, over("8")],
    [
      "what its own container is given by the conf",
      { spec: { containers: [container("driver", { cpu: "8" })] } },
      { "spark.kubernetes.driver.limit.cores": "2" },
      "admitted",
    ],
    ["none that asks for nothing", beside(container("side")), {}, "admitted"],
  ])("%s", async (_, template, conf, expected) => {
    expect(await answer(limits, { template, conf })).toBe(expected);
  });

  test("but not those of the operator's", async () => {
    const generous = { spec: { containers: [container("driver", { cpu: "6" })] } };
    expect(await answer(limits, { template: beside(), preset: generous })).toBe("admitted");
    const preset = { spec: { containers: [container("driver", { cpu: "1" }), container("proxy", { cpu: "6" })] } };
    expect(await answer(limits, { template: beside(container("side", { cpu: "1" })), preset })).toBe("admitted");
    expect(await answer(limits, { template: beside(container("side", { cpu: "2" })), preset })).toMatch(/ is over /);
  });
});
