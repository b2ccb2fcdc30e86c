import type { V1ConfigMap, V1Pod, V1Secret } from "@kubernetes/client-node";
import type { Claim, LaunchPlan, SourcedConf } from "../../core/ports.ts";
import { redactLists } from "../../core/redaction.ts";
import type { Conf, SessionSpec } from "../../core/spec.ts";
import { plain, shownConf, sourced } from "../conf.ts";
import { driverFile } from "../driver-file.ts";
import { type SparkLaunch, sparkLaunch } from "../spark.ts";
import type { DriverCertificate } from "./certificate.ts";
import { driverName, sessionLabels, TAG_LABEL } from "./names.ts";
import { driverPod, executorTemplate, namespaceOf, PATHS, POD_IP_VARIABLE, PORTS } from "./pod.ts";
import type { PodSettings } from "./settings.ts";
import { shownPod } from "./shown-pod.ts";
import { isTemplateKey, type TemplateRole, templateKey } from "./template.ts";
import { checkExecutorVolumes } from "./volumes.ts";

/** Everything a session has in the cluster before its pod runs. */
export interface DriverObjects {
  readonly pod: V1Pod;
  /** The link's key, the certificate and the conf with its secrets: only the driver reads it. */
  readonly secret: V1Secret;
  /** The shim and the template of executor pods. */
  readonly configMap: V1ConfigMap;
}

/** What is decided of a session before anything is made of it. */
export interface DriverPlan {
  readonly pod: V1Pod;
  /** The template of executor pods. */
  readonly executors: V1Pod;
  readonly launch: SparkLaunch;
}

export interface DriverParts {
  readonly claim: Claim;
  /** With its secrets; conf canonical, templates inline. */
  readonly spec: SessionSpec;
  readonly settings: PodSettings;
  readonly linkKey: Uint8Array;
  readonly certificate: DriverCertificate;
  /** The Python package spark_shim as a zip file. */
  readonly shim: Uint8Array;
}

/** By address: a name server that does not answer for a moment must not end a driver. Both are in every container (Kubernetes, Service). */
const OWN_MASTER = "k8s://https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}";

/** Executors and what they need are Spark's to make, in client mode; the rest of these is where the driver is (driver-facts §11). */
const clientConf = (name: string, uid: string, namespace: string, settings: PodSettings): Conf => ({
  "spark.master": settings.master ?? OWN_MASTER,
  "spark.submit.deployMode": "client",
  "spark.kubernetes.namespace": namespace,
  // Executors and their ConfigMap belong to this pod and go with it.
  "spark.kubernetes.driver.pod.name": name,
  "spark.kubernetes.executor.podNamePrefix": name,
  "spark.kubernetes.executor.podTemplateFile": PATHS.executorTemplate,
  // There is none in client mode, and looking for it would need a right more.
  "spark.kubernetes.driver.service.deleteOnTermination": "false",
  "spark.driver.port": String(PORTS.driver),
  "spark.driver.blockManager.port": String(PORTS.blockManager),
  "spark.ui.port": String(PORTS.ui),
  ...Object.fromEntries(
    Object.entries({ ...sessionLabels(settings.instance, uid, "executor"), [TAG_LABEL]: name }).map(([label, value]) => [
      `spark.kubernetes.executor.label.${label}`,
      value,
    ]),
  ),
});

/** Where neither the session nor the operator says anything. */
const defaultConf = (settings: PodSettings, executors: V1Pod, asked: Conf): Conf => ({
  ...(asked["spark.kubernetes.container.image"] === undefined ? imageOf(executors) : {}),
  "spark.kubernetes.container.image": settings.image,
  ...(settings.imagePullPolicy === null ? {} : { "spark.kubernetes.container.image.pullPolicy": settings.imagePullPolicy }),
  ...(settings.imagePullSecrets.length === 0
    ? {}
    : { "spark.kubernetes.container.image.pullSecrets": settings.imagePullSecrets.join(",") }),
  "spark.kubernetes.executor.deleteOnTermination": "true",
  "spark.jars.ivy": `${PATHS.state}/ivy`,
  // As the driver's: without a locale Java has no path for a file whose name is not ASCII, and an executor that was to fetch one ends.
  "spark.executorEnv.LC_ALL": "C.UTF-8",
});

/** Spark takes the conf's image before the template's, and the conf has one by default. */
const imageOf = (executors: V1Pod): Conf => {
  const image = executors.spec?.containers[0]?.image;
  return image === undefined ? {} : { "spark.kubernetes.executor.container.image": image };
};

/** The preset's, then the session's own. */
export const templatesOf = ({ preset, conf }: SessionSpec, role: TemplateRole): readonly V1Pod[] =>
  [preset?.conf[templateKey(role)], conf[templateKey(role)]]
    .filter((text) => text !== undefined)
    // Written by whoever read them: they are JSON here.
    .map((text) => JSON.parse(text) as V1Pod);

/**
 * What follows from a session's claim, spec and settings alone: the same whoever asks.
 * @throws Problem SPEC_REFUSED
 */
export const planDriver = ({ claim, spec, settings }: Pick<DriverParts, "claim" | "spec" | "settings">): DriverPlan => {
  const name = driverName(settings.instance, claim);
  const launch = sparkLaunch(claim.id, spec, settings.spark);
  const asked = plain(launch.conf);
  checkExecutorVolumes(asked);
  const executors = executorTemplate(settings, templatesOf(spec, "executor"));
  const conf = {
    ...sourced("server", defaultConf(settings, executors, asked)),
    ...withoutTemplates(launch.conf),
    ...sourced("server", clientConf(name, claim.uid, namespaceOf(asked, settings), settings)),
  };
  return {
    pod: driverPod({ claim, settings, templates: templatesOf(spec, "driver"), conf: asked }),
    executors,
    launch: { ...launch, conf },
  };
};

/** A plan as it may be shown to whoever asked for it. */
export const shownPlan = ({ pod, executors, launch }: DriverPlan): LaunchPlan => {
  const { jars, pyFiles, files, archives, conf } = launch;
  const { name = "", namespace } = pod.metadata ?? {};
  return {
    ...redactLists({ jars, pyFiles, files, archives }),
    conf: shownConf(conf),
    workload: { namespace, pod: shownPod(pod), executorTemplate: shownPod(executors), secret: name, configMap: name },
  };
};

/** The session's objects as values: the same ones whoever makes them. */
export const driverObjects = (parts: DriverParts): DriverObjects => {
  const { claim, spec, settings, certificate } = parts;
  const { instance } = settings;
  const { pod, executors, launch } = planDriver(parts);
  const namespace = pod.metadata?.namespace ?? settings.namespace;
  const place = {
    listen: { tcp: { host: "::", port: PORTS.link } },
    journal: `${PATHS.state}/journal`,
    termination: `${PATHS.state}/termination.json`,
    workDir: PATHS.work,
    startDir: null,
    python: pod.spec?.containers[0]?.command?.[0] ?? settings.python,
    java: settings.java,
    sparkHome: settings.sparkHome,
    archive: null,
  };
  const file = {
    ...driverFile(claim, spec, parts.linkKey, place, launch, settings),
    tls: { certificate: PATHS.tlsCertificate, key: PATHS.tlsKey },
    terminationMessage: "/dev/termination-log",
    echo: true,
    confFromEnv: { "spark.driver.host": `{${POD_IP_VARIABLE}}`, ...(settings.master === null ? { "spark.master": OWN_MASTER } : {}) },
  };
  const tag = driverName(instance, claim);
  const metadata = (part: string) => ({ name: tag, namespace, labels: { ...sessionLabels(instance, claim.uid, part), [TAG_LABEL]: tag } });
  return {
    pod,
    secret: {
      apiVersion: "v1",
      kind: "Secret",
      metadata: metadata("secret"),
      type: "Opaque",
      immutable: true,
      stringData: { "driver.json": JSON.stringify(file), "tls.crt": certificate.certificate, "tls.key": certificate.key },
    },
    configMap: {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: metadata("program"),
      immutable: true,
      binaryData: { "shim.zip": Buffer.from(parts.shim).toString("base64") },
      data: { "executor.json": JSON.stringify(executors) },
    },
  };
};

const withoutTemplates = (conf: SourcedConf): SourcedConf =>
  Object.fromEntries(Object.entries(conf).filter(([key]) => !isTemplateKey(key)));
