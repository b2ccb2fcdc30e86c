import type { V1Container, V1Pod } from "@kubernetes/client-node";
import type { Claim } from "../../../src/core/ports.ts";
import { redactSpec } from "../../../src/core/redaction.ts";
import type { SessionSpec } from "../../../src/core/spec.ts";
import { driverCertificate } from "../../../src/launch/kubernetes/certificate.ts";
import { type DriverObjects, type DriverPlan, driverObjects, planDriver } from "../../../src/launch/kubernetes/driver.ts";
import type { PodSettings } from "../../../src/launch/kubernetes/settings.ts";
import { POD_SETTINGS } from "../../kit/launch-settings.ts";
import { specOf } from "../contract.ts";

export const SETTINGS: PodSettings = { ...POD_SETTINGS, instance: "longwick", namespace: "spark", image: "apache/spark:4.0.1-python3" };
export const UID = "1a2b3c4d-0000-4000-8000-000000000000";
const MASTER = new Uint8Array(32).fill(7);

const claimed = (asked: Partial<SessionSpec>, settings: Partial<PodSettings>) => {
  const spec = specOf(asked);
  const claim: Claim = { id: 12, uid: UID, owner: "ada", spec: redactSpec(spec), createdMs: 1, notes: [], attempts: [], end: null };
  return { claim, spec, settings: { ...SETTINGS, ...settings } };
};

/** What is decided of a session, as its claim asks for it. */
export const planOf = (asked: Partial<SessionSpec> = {}, settings: Partial<PodSettings> = {}): DriverPlan =>
  planDriver(claimed(asked, settings));

/** A session's objects, as its claim asks for them. */
export const objectsOf = (asked: Partial<SessionSpec> = {}, settings: Partial<PodSettings> = {}): DriverObjects =>
  driverObjects({ ...claimed(asked, settings), linkKey: MASTER, shim: Buffer.from("zip"), certificate: driverCertificate(MASTER, UID) });

/** The driver's container of a conf. */
export const containerOf = (conf: Record<string, string>, settings: Partial<PodSettings> = {}): V1Container =>
  first(objectsOf({ conf }, settings).pod);

export const first = (pod: V1Pod): V1Container => {
  const [container] = pod.spec?.containers ?? [];
  if (container === undefined) throw new Error("the pod has no container");
  return container;
};

/** What the supervisor is told. */
export const driverFileOf = (objects: DriverObjects): Record<string, unknown> & { conf: Record<string, string> } =>
  JSON.parse(objects.secret.stringData?.["driver.json"] ?? "{}");
