import { describe, expect, test } from "vitest";
import { redactSpec } from "../../../src/core/redaction.ts";
import type { Application, SessionSpec } from "../../../src/core/spec.ts";
import { admit } from "../../../src/launch/kubernetes/admission.ts";
import { driverName } from "../../../src/launch/kubernetes/names.ts";
import type { PodSettings } from "../../../src/launch/kubernetes/settings.ts";
import { type ApplicationPlan, planApplication } from "../../../src/launch/kubernetes/spark-application.ts";
import { applicationOf, draftOf, specOf } from "../contract.ts";
import { SETTINGS, UID } from "./parts.ts";

const NAME = "longwick-12-1a2b3c4d";
const BATCHES = { ...SETTINGS, batches: "spark-application" } as const satisfies PodSettings;

const planOf = (asked: Partial<SessionSpec> = {}, settings: Partial<PodSettings> = {}): ApplicationPlan => {
  const spec = specOf({ application: applicationOf("s3a://bucket/report.py", ["2026-11-21", "--full"]), ...asked });
  const claim = { id: 12, uid: UID, owner: "ada", spec: redactSpec(spec), createdMs: 1, notes: [], attempts: [], end: null };
  return planApplication({ claim, spec, settings: { ...BATCHES, ...settings } });
};
const objectOf = (asked: Partial<SessionSpec> = {}, settings: Partial<PodSettings> = {}) => planOf(asked, settings).object;
const withFile = (file: string, more: Partial<Application> = {}) => ({ application: { ...applicationOf(file), ...more } });

describe("a batch's SparkApplication", () => {
  test("runs the application once, under the attempt's name, with the labels that the server finds its pods by", () => {
    const { metadata, spec } = objectOf();
    expect(metadata).toMatchObject({
      name: NAME,
      namespace: "spark",
      labels: { "longwick/session": UID, "app.kubernetes.io/instance": "longwick", "longwick/part": "application", "spark-app-tag": NAME },
      annotations: { "longwick/session-id": "12", "longwick/owner": "ada" },
    });
    expect(spec).toMatchObject({
      ...{ type: "Python", mode: "cluster", restartPolicy: { type: "Never" } },
      ...{ image: "apache/spark:4.0.1-python3", sparkVersion: "4.0.1" },
      ...{ mainApplicationFile: "s3a://bucket/report.py", arguments: ["2026-11-21", "--full"] },
      driver: { serviceAccount: "longwick-driver", labels: { "longwick/session": UID, "longwick/part": "driver" } },
      executor: { labels: { "longwick/session": UID, "longwick/part": "executor" } },
    });
    expect(spec.sparkConf).toMatchObject({
      "spark.kubernetes.driver.pod.name": NAME,
      "spark.kubernetes.executor.podNamePrefix": NAME,
      "spark.app.name": "longwick-batch-12",
    });
    expect(Object.keys(spec.sparkConf)).not.toContain("spark.master");
    expect(Object.keys(spec.sparkConf)).not.toContain("spark.kubernetes.namespace");
    expect(Object.keys(spec.sparkConf)).not.toContain("spark.submit.deployMode");
    expect(spec).not.toHaveProperty("mainClass");
    expect(spec).not.toHaveProperty("proxyUser");
  });

  test("has another name for another attempt", () => {
    const spec = specOf(withFile("local:///app.py"));
    const attempt = { state: "dead", reason: "", logTail: [], endedMs: 1, appId: null, nextMs: 2 } as const;
    const claim = { id: 12, uid: UID, owner: null, spec, createdMs: 1, notes: [], attempts: [attempt], end: null };
    const { object } = planApplication({ claim, spec, settings: BATCHES });
    expect(object.metadata.name).toBe(driverName("longwick", claim));
    expect(object.spec.sparkConf["spark.kubernetes.driver.pod.name"]).toBe(`${NAME}-2`);
  });

  test("has all that Livy's fields ask for", () => {
    const { spec } = objectOf({
      ...withFile("https://jars.example/app.jar", { className: "com.example.Report" }),
      ...{ name: "nightly", proxyUser: "bob", queue: "root.etl" },
      ...{ driverMemory: "2g", driverCores: 2, executorMemory: "3g", executorCores: 4, numExecutors: 5 },
      ...{
        jars: ["s3a://b/x.jar"],
        pyFiles: ["file:///opt/helpers.zip"],
        files: ["https://h/a.txt"],
        archives: ["s3a://b/env.tar.gz#env"],
      },
      conf: {
        "spark.jars.packages": "a:b:1, c:d:2",
        "spark.jars.repositories": "https://maven.example",
        "spark.kubernetes.driverEnv.REGION": "eu",
        "spark.kubernetes.driver.secretKeyRef.PASSWORD": "db:password",
      },
    });
    expect(spec).toMatchObject({
      ...{ type: "Java", mainClass: "com.example.Report", mainApplicationFile: "https://jars.example/app.jar", proxyUser: "bob" },
      batchSchedulerOptions: { queue: "root.etl" },
      driver: { cores: 2, memory: "2g" },
      executor: { cores: 4, memory: "3g", instances: 5 },
      sparkConf: {
        "spark.app.name": "nightly",
        "spark.driver.memory": "2g",
        "spark.executor.instances": "5",
        "spark.kubernetes.driverEnv.REGION": "eu",
        "spark.kubernetes.driver.secretKeyRef.PASSWORD": "db:password",
      },
    });
    expect(spec.deps).toEqual({
      ...{
        jars: ["s3a://b/x.jar"],
        pyFiles: ["local:///opt/helpers.zip"],
        files: ["https://h/a.txt"],
        archives: ["s3a://b/env.tar.gz#env"],
      },
      ...{ packages: ["a:b:1", "c:d:2"], repositories: ["https://maven.example"] },
    });
    expect(spec.sparkConf).not.toHaveProperty("spark.jars.packages");
    expect(spec).not.toHaveProperty("arguments");
  });

  test("takes files of the image for what they are to a spark-submit elsewhere", () => {
    expect(objectOf(withFile("file:///opt/app.py")).spec.mainApplicationFile).toBe("local:///opt/app.py");
    expect(objectOf(withFile("local:///opt/app.R")).spec).toMatchObject({ type: "R", mainApplicationFile: "local:///opt/app.R" });
    expect(objectOf(withFile("file:///opt/app.jar")).spec.type).toBe("Java");
  });

  test("has the image, its secrets and the account of the operator, or those that are asked for", () => {
    const ours = objectOf({}, { imagePullPolicy: "IfNotPresent", imagePullSecrets: ["pull"], image: "registry.example:5000/spark" }).spec;
    expect(ours).toMatchObject({ image: "registry.example:5000/spark", imagePullPolicy: "IfNotPresent", imagePullSecrets: ["pull"] });
    expect(ours.sparkVersion).toBe("3.5.0");
    const asked = objectOf({
      conf: {
        "spark.kubernetes.container.image": "own/spark:3.5.6",
        "spark.kubernetes.driver.container.image": "own/driver:3.5.6",
        "spark.kubernetes.container.image.pullSecrets": "a,b",
        "spark.kubernetes.authenticate.driver.serviceAccountName": "spark-s3",
      },
    }).spec;
    expect(asked).toMatchObject({
      ...{ image: "own/spark:3.5.6", sparkVersion: "3.5.6", imagePullSecrets: ["a", "b"] },
      driver: { image: "own/driver:3.5.6", serviceAccount: "spark-s3" },
      executor: { image: "own/spark:3.5.6" },
    });
  });

  test("starts its pods from templates: the batch's over the operator's over what is safe", () => {
    const driver = { spec: { priorityClassName: "low", containers: [{ name: "any", env: [{ name: "A", value: "own" }] }] } };
    const driverTemplate = { metadata: { labels: { team: "data" } }, spec: { nodeSelector: { disk: "ssd" }, containers: [] } };
    const { spec } = objectOf(
      { conf: { "spark.kubernetes.driver.podTemplateFile": JSON.stringify(driver) }, ttlMs: 90_500 },
      { driverTemplate },
    );
    const { metadata, spec: pod } = spec.driver.template;
    expect(metadata?.labels).toEqual({ team: "data" });
    expect(pod).toMatchObject({
      ...{ priorityClassName: "low", nodeSelector: { disk: "ssd" }, activeDeadlineSeconds: 91 },
      securityContext: { runAsNonRoot: true, runAsUser: 185, seccompProfile: { type: "RuntimeDefault" } },
    });
    expect(pod?.containers).toMatchObject([
      {
        name: "spark-kubernetes-driver",
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
        terminationMessagePolicy: "FallbackToLogsOnError",
        env: expect.arrayContaining([{ name: "A", value: "own" }]),
      },
    ]);
    expect(spec.executor.template.spec?.containers).toMatchObject([{ name: "spark-kubernetes-executor" }]);
    expect(spec.executor.template.spec?.automountServiceAccountToken).toBe(false);
    expect(Object.keys(spec.sparkConf).filter((key) => key.includes("podTemplate"))).toEqual([]);
  });

  test.each<[what: string, asked: Partial<SessionSpec>, why: RegExp]>([
    ["an upload", withFile("upload:/0b9e2f6c-4a66-4a10-8a8e-2d4f7f3b9d11/app.py"), /upload:\/.*app\.py: .*no link/],
    ["an upload among its files", { files: ["upload:/0b9e2f6c-4a66-4a10-8a8e-2d4f7f3b9d11/data.csv"] }, /no link/],
    ["a file of the image for its directory", { files: ["file:///etc/hosts"] }, /files file:\/\/\/etc\/hosts: /],
    ["an archive of the image", { archives: ["local:///opt/env.tar.gz#env"] }, /archives local:/],
    ["a secret in its conf", { conf: { "spark.hadoop.fs.s3a.secret.key": "abc" } }, /spark\.hadoop\.fs\.s3a\.secret\.key: .*Secret/],
    ["credentials in its file's address", withFile("https://ada:hush@host/a.py", {}), /^((?!hush).)*file: credentials in its URI/],
    ["credentials in an address in its conf", { conf: { "spark.jars": "https://host/x.jar?sig=hush" } }, /jars: credentials in its URI/],
    ["a secret among its arguments", withFile("local:///a.py", { args: ["--token", "abc"] }), /args: .*Secret/],
    [
      "a secret in a template",
      {
        conf: {
          "spark.kubernetes.driver.podTemplateFile": JSON.stringify({
            spec: { containers: [{ name: "any", env: [{ name: "DB_PASSWORD", value: "abc" }] }] },
          }),
        },
      },
      /podTemplateFile: .*Secret/,
    ],
    ["a keytab", { conf: { "spark.kerberos.keytab": "/etc/krb5.keytab" } }, /spark\.kerberos\.keytab: .*own disk/],
    ["memory that is none", { conf: { "spark.driver.memory": "lots" } }, /spark\.driver\.memory must be a size/],
  ])("is refused with the reason: %s", (_, asked, why) => {
    expect(() => planOf(asked)).toThrow(why);
    expect(() => planOf(asked)).toThrow(expect.objectContaining({ code: "SPEC_REFUSED" }));
  });
});

describe("admission", () => {
  const soon = () => AbortSignal.timeout(5_000);

  test("writes into a batch's claim what carries it, and shows the object that it would be", async () => {
    const draft = draftOf({ application: applicationOf("local:///app.py"), conf: { "spark.kubernetes.driverEnv.KEY": "v" } });
    const { spec, plan } = await admit(draft, BATCHES, soon());
    expect(spec.application?.carrier).toBe("spark-application");
    expect(plan.workload).toMatchObject({
      namespace: "spark",
      sparkApplication: { kind: "SparkApplication", spec: { mainApplicationFile: "local:///app.py" } },
    });
    expect(plan.conf["spark.kubernetes.driverEnv.KEY"]).toEqual({ value: "v", source: "user" });
  });

  test("leaves sessions, and batches where drivers are ours, as they are", async () => {
    const session = await admit(draftOf(), BATCHES, soon());
    expect(session.plan.workload).toHaveProperty("pod");
    const batch = await admit(draftOf({ application: applicationOf("local:///app.py") }), SETTINGS, soon());
    expect(batch.spec.application).not.toHaveProperty("carrier");
    expect(batch.plan.workload).toHaveProperty("pod");
  });

  test("asks a SparkApplication's batch for the same rules as any other", async () => {
    const draft = draftOf({ application: applicationOf("local:///app.py"), conf: { "spark.kubernetes.container.image": "evil/spark:1" } });
    await expect(admit(draft, BATCHES, soon())).rejects.toThrow("not allowed by any rule 'image'");
  });
});
