import { readFile } from "node:fs/promises";
import { type Config, ConfigError, inheritedEnvironment } from "./config.ts";
import type { LauncherSettings } from "./launch/index.ts";
import { readAllowRule } from "./launch/kubernetes/policy.ts";
import { templateKey } from "./launch/kubernetes/template.ts";
import { type Prepared, SHIM } from "./prepare.ts";

/**
 * What the launcher that the configuration names must be told; `uploadPath`: where this machine has an upload as a file.
 * @throws ConfigError when something it needs is not set or cannot be read
 */
export const launcherSettings = async (
  config: Config,
  prepared: Prepared | null,
  uploadPath: (id: string) => string | null = () => null,
): Promise<LauncherSettings> => {
  if (config.launcher === "kubernetes") return { launcher: "kubernetes", kubernetes: await kubernetesSettings(config) };
  if (prepared === null) throw new Error("local drivers need a Spark that was prepared");
  // A Spark of the user's own may name its master in its spark-defaults.conf.
  const defaultMaster = prepared.sparkHome === null ? "local[*]" : null;
  // Which Spark it is has been decided: drivers are told of it by name, and one that the environment names must not get in its way.
  const { SPARK_HOME: _, ...environment } = inheritedEnvironment();
  return { launcher: "local", local: { ...config, ...prepared, defaultMaster, timeZone: config.sparkTimeZone, environment, uploadPath } };
};

type Kubernetes = Extract<LauncherSettings, { launcher: "kubernetes" }>["kubernetes"];

const kubernetesSettings = async (config: Config): Promise<Kubernetes> => {
  const { kubernetesImage: image, kubernetesImagePullPolicy: pullPolicy, kubernetesReach: reach } = config;
  const template = (["driver", "executor"] as const).find((role) => config.sparkConf[templateKey(role)] !== undefined);
  if (template !== undefined)
    throw new ConfigError([`sparkConf: ${templateKey(template)}: name the file as --kubernetes-${template}-template.`]);
  if (image === null)
    throw new ConfigError(["--launcher kubernetes needs --kubernetes-image: an image with Spark, Java and Python, as apache/spark."]);
  return {
    ...config,
    spark: {
      sparkConf: config.sparkConf,
      defaultMaster: null,
      timeZone: config.sparkTimeZone,
      refusedConf: config.refusedConf,
      environment: {},
    },
    instance: config.kubernetesInstance,
    namespace: config.kubernetesNamespace,
    serverNamespace: config.kubernetesServerNamespace,
    image,
    imagePullPolicy: pullPolicy === "default" ? null : pullPolicy,
    imagePullSecrets: config.kubernetesImagePullSecrets,
    serviceAccount: config.kubernetesServiceAccount,
    runAsUser: config.kubernetesRunAsUser,
    python: config.kubernetesPython,
    java: null,
    sparkHome: null,
    master: config.kubernetesMaster,
    driverTemplate: await fileText(config.kubernetesDriverTemplate, "--kubernetes-driver-template"),
    executorTemplate: await fileText(config.kubernetesExecutorTemplate, "--kubernetes-executor-template"),
    batches: config.kubernetesBatches,
    allow: config.kubernetesAllow.map((text) => {
      try {
        return readAllowRule(text);
      } catch (error) {
        throw new ConfigError([`--kubernetes-allow: ${error instanceof Error ? error.message : String(error)}.`]);
      }
    }),
    context: config.kubeContext,
    masterKeyFile: config.kubernetesMasterKey,
    reach: reach === "auto" ? null : reach,
    shimDir: SHIM,
    startTimeoutMs: config.kubernetesStartTimeoutMs,
  };
};

const fileText = async (path: string | null, flag: string): Promise<string | null> => {
  if (path === null) return null;
  return readFile(path, "utf8").catch((error: unknown) => {
    throw new ConfigError([`${flag}: ${error instanceof Error ? error.message : String(error)}.`]);
  });
};
