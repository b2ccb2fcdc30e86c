import { fileURLToPath } from "node:url";
import type { DriverLimits } from "../../src/launch/driver-file.ts";
import type { PodSettings } from "../../src/launch/kubernetes/settings.ts";
import type { SparkSettings } from "../../src/launch/spark.ts";

const MIB = 1024 * 1024;

export const SHIM = fileURLToPath(new URL("../../python-shim", import.meta.url));
/** A JVM that never comes up and ends when its stdin does. */
export const STUB_JAVA = "#!/bin/sh\nexec cat\n";

/** What launchers of all kinds are told where a test does not say otherwise. */
export const DRIVER_LIMITS: DriverLimits = {
  orphanTimeoutMs: 600_000,
  cancelForceMs: 0,
  sqlRowLimit: 1_000,
  journalLimitBytes: 64 * MIB,
  statementLimitBytes: 16 * MIB,
  memoryLimitBytes: 4 * MIB,
  queueLimit: 1_000,
  queueLimitBytes: 64 * MIB,
};
export const SPARK_SETTINGS: SparkSettings = {
  sparkConf: {},
  defaultMaster: null,
  timeZone: null,
  refusedConf: ["spark.master", "spark.submit.deployMode"],
  environment: {},
};
export const POD_SETTINGS = {
  ...DRIVER_LIMITS,
  spark: SPARK_SETTINGS,
  imagePullPolicy: null,
  imagePullSecrets: [],
  serviceAccount: "longwick-driver",
  runAsUser: 185,
  python: "python3",
  java: null,
  sparkHome: null,
  master: null,
  driverTemplate: null,
  executorTemplate: null,
  batches: "driver",
  allow: [],
} as const satisfies Omit<PodSettings, "instance" | "namespace" | "image">;
