import { describe, expect, test } from "vitest";
import { plain } from "../../../src/launch/conf.ts";
import { shownPod } from "../../../src/launch/kubernetes/shown-pod.ts";
import { readTemplate } from "../../../src/launch/kubernetes/template.ts";
import { NO_LIMITS } from "../contract.ts";
import { containerOf, driverFileOf, first, objectsOf, planOf, SETTINGS, UID } from "./parts.ts";

const NAME = "longwick-12-1a2b3c4d";

describe("a driver's pod", () => {
  test("has a name that follows from its claim, and labels by which it is found with its executors", () => {
    const { pod, secret, configMap } = objectsOf();
    expect([pod.metadata?.name, secret.metadata?.name, configMap.metadata?.name]).toEqual([NAME, NAME, NAME]);
    expect(pod.metadata).toMatchObject({
      namespace: "spark",
      labels: { "spark-app-tag": NAME, "spark-role": "driver", "longwick/session": UID, "app.kubernetes.io/managed-by": "longwick" },
      annotations: { "longwick/session-id": "12", "longwick/owner": "ada" },
    });
    expect(objectsOf()).toEqual(objectsOf());
  });

  test("passes Pod Security restricted, with a read-only root", () => {
    const { pod } = objectsOf();
    expect(pod.spec?.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: 185,
      fsGroup: 185,
      seccompProfile: { type: "RuntimeDefault" },
    });
    expect(first(pod).securityContext).toEqual({
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      readOnlyRootFilesystem: true,
    });
  });

  test("comes back in place after a crash and tells its end to the kubelet", () => {
    const { pod } = objectsOf();
    expect(pod.spec?.restartPolicy).toBe("OnFailure");
    expect(first(pod)).toMatchObject({
      terminationMessagePolicy: "FallbackToLogsOnError",
      command: ["python3", "-m", "spark_shim", "/etc/longwick/driver.json"],
    });
  });

  test.each([
    [{ "spark.pyspark.python": "/opt/python/bin/python" }, "/opt/python/bin/python"],
    [{ "spark.pyspark.python": "/opt/other", "spark.pyspark.driver.python": "python3.12" }, "python3.12"],
    [{ "spark.pyspark.python": "./environment/bin/python" }, "python3"],
  ])("runs on the Python of %o that the image has", (conf, python) => {
    const objects = objectsOf({ conf });
    expect(first(objects.pod).command?.[0]).toBe(python);
    expect(driverFileOf(objects)).toMatchObject({ python, conf });
  });

  test("never shows a secret outside of its Secret", () => {
    const jars = ["https://ada:hush@host/x.jar?sig=hush"];
    const { pod, secret, configMap } = objectsOf({ jars, conf: { "spark.hadoop.fs.s3a.secret.key": "hush", "spark.a": "1" } });
    expect(JSON.stringify([pod, configMap])).not.toContain("hush");
    expect(JSON.parse(secret.stringData?.["driver.json"] ?? "")).toMatchObject({
      ...{ jars, conf: { "spark.hadoop.fs.s3a.secret.key": "hush" } },
      hidden: { "://ada:hush@": "://*********(redacted)@", "sig=hush": "sig=*********(redacted)" },
    });
    expect(JSON.parse(pod.metadata?.annotations?.["longwick/spec"] ?? "").conf).toMatchObject({ "spark.a": "1" });
  });

  test("runs Spark in client mode where it is, whatever the session says of names", () => {
    const { conf, ...file } = driverFileOf(
      objectsOf({ driverMemory: "2g", numExecutors: 3, conf: { "spark.sql.shuffle.partitions": "4" } }),
    );
    expect(conf).toMatchObject({
      "spark.submit.deployMode": "client",
      "spark.kubernetes.namespace": "spark",
      "spark.kubernetes.driver.pod.name": NAME,
      "spark.kubernetes.executor.podNamePrefix": NAME,
      "spark.kubernetes.container.image": "apache/spark:4.0.1-python3",
      "spark.kubernetes.executor.label.spark-app-tag": NAME,
      "spark.scheduler.minRegisteredResourcesRatio": "0",
      "spark.executor.failuresValidityInterval": "10m",
      "spark.driver.port": "7078",
      "spark.executor.instances": "3",
      "spark.driver.memory": "2g",
      "spark.sql.shuffle.partitions": "4",
    });
    expect(file).toMatchObject({
      listen: { tcp: { host: "::", port: 7997 } },
      confFromEnv: {
        "spark.driver.host": "{LONGWICK_POD_IP}",
        "spark.master": "k8s://https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}",
      },
      tls: { certificate: "/etc/longwick/tls.crt" },
      terminationMessage: "/dev/termination-log",
    });
  });
});

describe("what a session asks for in its conf", () => {
  test("privileges may grow in the driver where its own key says so, else where that of all pods does", () => {
    const [all, own] = ["spark.kubernetes", "spark.kubernetes.driver"].map((at) => `${at}.securityContext.allowPrivilegeEscalation`);
    expect(containerOf({ [`${all}`]: "true" }).securityContext).toMatchObject({
      allowPrivilegeEscalation: true,
      capabilities: { drop: ["ALL"] },
    });
    expect(containerOf({ [`${all}`]: "true", [`${own}`]: "false" }).securityContext).toMatchObject({ allowPrivilegeEscalation: false });
  });

  test("labels, annotations, selectors, pull policy and secrets, account, scheduler and grace are the pod's", () => {
    const { pod } = objectsOf({
      conf: {
        "spark.kubernetes.driver.label.team": "blue",
        "spark.kubernetes.driver.annotation.example.org/note": "hello",
        "spark.kubernetes.node.selector.disk": "ssd",
        "spark.kubernetes.driver.node.selector.zone": "a",
        "spark.kubernetes.container.image": "repo/spark:1",
        "spark.kubernetes.container.image.pullPolicy": "Always",
        "spark.kubernetes.container.image.pullSecrets": "one, two",
        "spark.kubernetes.authenticate.driver.serviceAccountName": "me",
        "spark.kubernetes.driver.scheduler.name": "volcano",
      },
    });
    expect(pod.metadata).toMatchObject({ labels: { team: "blue" }, annotations: { "example.org/note": "hello" } });
    expect(pod.spec).toMatchObject({
      nodeSelector: { disk: "ssd", zone: "a" },
      imagePullSecrets: [{ name: "one" }, { name: "two" }],
      serviceAccountName: "me",
      schedulerName: "volcano",
    });
    expect(first(pod)).toMatchObject({ image: "repo/spark:1", imagePullPolicy: "Always" });
  });

  test("the driver's own image goes before the one of both", () => {
    const conf = { "spark.kubernetes.container.image": "both:1", "spark.kubernetes.driver.container.image": "driver:1" };
    expect(containerOf(conf).image).toBe("driver:1");
  });

  test("env, secrets as env and as mounts", () => {
    const container = containerOf({
      "spark.kubernetes.driverEnv.GREETING": "hello",
      "spark.kubernetes.driver.secretKeyRef.TOKEN": "vault:token",
      "spark.kubernetes.driver.secrets.certs": "/etc/certs",
    });
    expect(container.env).toContainEqual({ name: "GREETING", value: "hello" });
    expect(container.env).toContainEqual({ name: "TOKEN", valueFrom: { secretKeyRef: { name: "vault", key: "token" } } });
    expect(container.volumeMounts).toContainEqual({ name: "certs-volume", mountPath: "/etc/certs", readOnly: true });
  });

  test.each([
    ["60", 60],
    ["90s", 90],
    ["2min", 120],
    ["1500ms", 1],
    ["0", 0],
  ])("a grace period of %s is %i seconds", (grace, seconds) => {
    const { pod } = objectsOf({ conf: { "spark.kubernetes.appKillPodDeletionGracePeriod": grace } });
    expect(pod.spec?.terminationGracePeriodSeconds).toBe(seconds);
  });

  test("volumes of every kind", () => {
    const at = "spark.kubernetes.driver.volumes";
    const { pod } = objectsOf({
      conf: {
        [`${at}.hostPath.data.mount.path`]: "/data",
        [`${at}.hostPath.data.mount.readOnly`]: "true",
        [`${at}.hostPath.data.options.path`]: "/srv/data",
        [`${at}.emptyDir.spark-local-dir-1.mount.path`]: "/fast",
        [`${at}.emptyDir.spark-local-dir-1.options.sizeLimit`]: "5Gi",
        [`${at}.nfs.home.mount.path`]: "/home",
        [`${at}.nfs.home.options.server`]: "nfs.example",
        [`${at}.nfs.home.options.path`]: "/export",
        [`${at}.persistentVolumeClaim.models.mount.path`]: "/models",
        [`${at}.persistentVolumeClaim.models.options.claimName`]: "models",
        [`${at}.persistentVolumeClaim.scratch.mount.path`]: "/scratch",
        [`${at}.persistentVolumeClaim.scratch.options.claimName`]: "OnDemand",
        [`${at}.persistentVolumeClaim.scratch.options.storageClass`]: "fast",
        [`${at}.persistentVolumeClaim.scratch.options.sizeLimit`]: "20Gi",
        [`${at}.persistentVolumeClaim.scratch.label.team`]: "blue",
      },
    });
    expect(pod.spec?.volumes).toEqual(
      expect.arrayContaining([
        { name: "data", hostPath: { path: "/srv/data" } },
        { name: "spark-local-dir-1", emptyDir: { sizeLimit: "5Gi" } },
        { name: "home", nfs: { server: "nfs.example", path: "/export" } },
        { name: "models", persistentVolumeClaim: { claimName: "models" } },
        {
          name: "scratch",
          ephemeral: {
            volumeClaimTemplate: {
              metadata: { labels: { team: "blue" }, annotations: {} },
              spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "20Gi" } }, storageClassName: "fast" },
            },
          },
        },
      ]),
    );
    expect(first(pod).volumeMounts).toContainEqual({ name: "data", mountPath: "/data", readOnly: true });
    // Spark's local directories are where the session wants them.
    expect(first(pod).env).toContainEqual({ name: "SPARK_LOCAL_DIRS", value: "/fast" });
    expect(pod.spec?.volumes?.map((volume) => volume.name)).not.toContain("longwick-local");
  });

  test("executors' claims on demand are refused as long as Spark would not make them; the driver's take the cluster's defaults", () => {
    const claim = (role: string, options: Record<string, string>) => {
      const at = `spark.kubernetes.${role}.volumes.persistentVolumeClaim.scratch`;
      const asked = Object.entries(options).map(([option, value]) => [`${at}.options.${option}`, value]);
      return () => objectsOf({ conf: { [`${at}.mount.path`]: "/scratch", ...Object.fromEntries(asked) } });
    };
    const refused = (text: string) => expect.objectContaining({ code: "SPEC_REFUSED", message: expect.stringContaining(text) });
    const whole = { claimName: "OnDemand", storageClass: "fast", sizeLimit: "20Gi" };
    expect(claim("executor", whole)).not.toThrow();
    expect(claim("executor", { claimName: "models" })).not.toThrow();
    expect(claim("executor", { claimName: "OnDemand", sizeLimit: "20Gi" })).toThrow(refused("scratch.options.storageClass is missing"));
    expect(claim("executor", { claimName: "OnDemand", storageClass: "fast" })).toThrow(refused("scratch.options.sizeLimit is missing"));
    expect(claim("executor", { ...whole, claimName: "ondemand" })).toThrow(refused("OnDemand in this spelling"));
    expect(claim("driver", { claimName: "OnDemand" })).not.toThrow();
  });

  test.each([
    [{}, { cpu: "1", memory: "1434Mi" }, {}],
    [{ "spark.driver.memory": "4g" }, { cpu: "1", memory: "5735Mi" }, {}],
    [{ "spark.driver.memory": "600m" }, { cpu: "1", memory: "984Mi" }, {}],
    [{ "spark.driver.memory": "4g", "spark.driver.memoryOverhead": "1g" }, { cpu: "1", memory: "5120Mi" }, {}],
    [{ "spark.driver.memory": "4g", "spark.driver.memoryOverheadFactor": "0.1" }, { cpu: "1", memory: "4506Mi" }, {}],
    [{ "spark.driver.cores": "2", "spark.kubernetes.driver.limit.cores": "3" }, { cpu: "2", memory: "1434Mi" }, { cpu: "3" }],
    [{ "spark.driver.cores": "2", "spark.kubernetes.driver.request.cores": "500m" }, { cpu: "500m", memory: "1434Mi" }, {}],
    [
      { "spark.driver.resource.gpu.amount": "1", "spark.driver.resource.gpu.vendor": "nvidia.com" },
      { cpu: "1", memory: "1434Mi" },
      { "nvidia.com/gpu": "1" },
    ],
  ])("sizes %j", (conf, requests, limits) => {
    expect(containerOf(conf).resources).toEqual({ requests, limits: { memory: requests.memory, ...limits } });
  });

  test.each([
    ["spark.driver.memory", "lots"],
    ["spark.driver.memoryOverheadFactor", "-1"],
    ["spark.kubernetes.driver.request.cores", "two"],
    ["spark.driver.resource.gpu.amount", "1"],
    ["spark.kubernetes.appKillPodDeletionGracePeriod", "soon"],
    ["spark.kubernetes.driver.volumes.csi.x.mount.path", "/x"],
    ["spark.kubernetes.driver.volumes.emptyDir.x.mount.path", "x"],
    ["spark.kubernetes.driver.volumes.nfs.x.mount.path", "/x"],
  ])("%s=%s is refused by its name", (key, value) => {
    expect(() => containerOf({ [key]: value })).toThrow(
      expect.objectContaining({ code: "SPEC_REFUSED", message: expect.stringContaining(key.split(".mount")[0] ?? key) }),
    );
  });
});

describe("pod templates", () => {
  const operator = {
    metadata: { labels: { cost: "shared", tier: "low" } },
    spec: {
      tolerations: [{ key: "spot" }],
      containers: [
        { name: "spark", env: [{ name: "A", value: "operator" }], resources: { limits: { "example.org/fpga": "1" } } },
        { name: "sidecar", image: "side:1" },
      ],
    },
  };
  const session = {
    metadata: { labels: { tier: "high" } },
    spec: {
      priorityClassName: "urgent",
      tolerations: [{ key: "gpu" }],
      containers: [
        {
          name: "mine",
          env: [
            { name: "A", value: "session" },
            { name: "B", value: "2" },
          ],
        },
      ],
    },
  };

  test("the session's lies over the operator's, the conf over both, what is ours over all", () => {
    const conf = {
      "spark.kubernetes.driver.podTemplateFile": JSON.stringify(session),
      "spark.kubernetes.driverEnv.B": "conf",
      "spark.kubernetes.driver.label.tier": "conf",
    };
    const { pod } = objectsOf({ conf }, { driverTemplate: operator });
    expect(pod.metadata?.labels).toMatchObject({ cost: "shared", tier: "conf", "spark-role": "driver" });
    expect(pod.spec).toMatchObject({ priorityClassName: "urgent", tolerations: [{ key: "spot" }, { key: "gpu" }] });
    expect(pod.spec?.containers.map(({ image }) => image)).toEqual(["apache/spark:4.0.1-python3", "side:1"]);
    expect(first(pod).env).toEqual(
      expect.arrayContaining([
        { name: "A", value: "session" },
        { name: "B", value: "conf" },
      ]),
    );
    expect(first(pod).resources?.limits).toMatchObject({ "example.org/fpga": "1", memory: "1434Mi" });
    expect(first(pod).command?.slice(1)).toEqual(["-m", "spark_shim", "/etc/longwick/driver.json"]);
  });

  test("executors start from a restricted one, which the driver finds on its disk", () => {
    const conf = { "spark.kubernetes.executor.podTemplateFile": JSON.stringify(session) };
    const objects = objectsOf({ conf });
    const template = JSON.parse(objects.configMap.data?.["executor.json"] ?? "{}");
    expect(template.spec).toMatchObject({
      priorityClassName: "urgent",
      securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
      containers: [{ securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } }, env: expect.any(Array) }],
    });
    expect(driverFileOf(objects).conf).toMatchObject({ "spark.kubernetes.executor.podTemplateFile": "/opt/longwick/executor.json" });
  });

  test("the container that the conf names is the driver's", () => {
    const two = {
      spec: {
        containers: [
          { name: "other", image: "other:1" },
          { name: "driver", image: "mine:1" },
        ],
      },
    };
    const conf = { "spark.kubernetes.driver.podTemplateContainerName": "driver" };
    const pod = readTemplate(JSON.stringify(two), "driver", conf, JSON.parse);
    expect(containerOf({ "spark.kubernetes.driver.podTemplateFile": JSON.stringify(pod) })).toMatchObject({
      name: "spark-kubernetes-driver",
      image: "mine:1",
    });
    const other = { "spark.kubernetes.executor.podTemplateContainerName": "x" };
    expect(() => readTemplate(JSON.stringify(two), "executor", other, JSON.parse)).toThrow("the template has no container 'x'");
  });

  test("the conf's image goes before a template's for executors, as for drivers", () => {
    const executorTemplate = { spec: { containers: [{ name: "any", image: "template:1" }] } };
    const conf = (asked: Record<string, string>) => driverFileOf(objectsOf({ conf: asked }, { executorTemplate })).conf;
    expect(conf({})["spark.kubernetes.executor.container.image"]).toBe("template:1");
    expect(conf({ "spark.kubernetes.container.image": "asked:1" })).not.toHaveProperty(["spark.kubernetes.executor.container.image"]);
  });
});

describe("a preset", () => {
  const template = { metadata: { labels: { tier: "gpu" } }, spec: { priorityClassName: "urgent", containers: [{ name: "any" }] } };
  const preset = {
    name: "gpu",
    limits: NO_LIMITS,
    conf: {
      "spark.kubernetes.container.image": "preset:1",
      "spark.kubernetes.driver.podTemplateFile": JSON.stringify(template),
      "spark.kubernetes.driver.label.team": "preset",
      "spark.driver.memory": "2g",
    },
  };

  test("lies beneath what the session asks for and above the operator's configuration", () => {
    const sparkConf = { "spark.driver.memory": "1g", "spark.kubernetes.driver.label.team": "all" };
    const settings = { spark: { ...SETTINGS.spark, sparkConf } };
    const { pod } = objectsOf({ preset, conf: { "spark.kubernetes.driver.label.team": "mine" } }, settings);
    expect(pod.metadata?.labels).toMatchObject({ tier: "gpu", team: "mine" });
    expect(pod.spec?.priorityClassName).toBe("urgent");
    expect(first(pod)).toMatchObject({ image: "preset:1", resources: { requests: { memory: "2868Mi" } } });
    const own = { metadata: { labels: { tier: "mine" } }, spec: { terminationGracePeriodSeconds: 9 } };
    const { pod: templated } = objectsOf({ preset, conf: { "spark.kubernetes.driver.podTemplateFile": JSON.stringify(own) } });
    expect(templated.metadata?.labels).toMatchObject({ tier: "mine", team: "preset" });
    expect(templated.spec).toMatchObject({ priorityClassName: "urgent", terminationGracePeriodSeconds: 9 });
    expect(first(objectsOf({ preset, driverMemory: "4g" }, settings).pod).resources?.requests?.["memory"]).toBe("5735Mi");
  });

  test("is in the pod's annotation with its settings, long ones cut and secret ones redacted", () => {
    const long = { ...preset, conf: { ...preset.conf, "spark.long": "x".repeat(3_000), "spark.ssl.keyPassword": "hush" } };
    const { pod, secret } = objectsOf({ preset: long });
    const spec = JSON.parse(pod.metadata?.annotations?.["longwick/spec"] ?? "");
    expect(spec.preset).toMatchObject({ name: "gpu", conf: { "spark.driver.memory": "2g" } });
    expect(spec.preset.conf["spark.long"]).toHaveLength(1_025);
    expect(JSON.stringify(pod)).not.toContain("hush");
    expect(secret.stringData?.["driver.json"]).toContain("hush");
  });
});

describe("a plan", () => {
  const asked = {
    driverMemory: "2g",
    conf: { "spark.sql.shuffle.partitions": "4", "spark.kubernetes.driverEnv.DB_PASSWORD": "hush", "spark.kubernetes.driverEnv.A": "1" },
  };
  const settings = { spark: { ...SETTINGS.spark, sparkConf: { "spark.a": "1" } } };

  test("is what the objects are made from, each value with its source", () => {
    const plan = planOf(asked, settings);
    const objects = objectsOf(asked, settings);
    expect(objects.pod).toEqual(plan.pod);
    expect(JSON.parse(objects.configMap.data?.["executor.json"] ?? "")).toEqual(plan.executors);
    expect(driverFileOf(objects).conf).toEqual(plain(plan.launch.conf));
    expect(plan.launch.conf).toMatchObject({
      "spark.driver.memory": { value: "2g", source: "field driverMemory" },
      "spark.sql.shuffle.partitions": { value: "4", source: "user" },
      "spark.a": { value: "1", source: "configuration" },
      "spark.master": { value: "k8s://https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}", source: "server" },
      "spark.kubernetes.container.image": { value: SETTINGS.image, source: "server" },
    });
  });

  test("shows its pod without secrets, and else as it is", () => {
    const { pod } = planOf(asked);
    const shown = shownPod(pod);
    expect(first(shown).env).toContainEqual({ name: "DB_PASSWORD", value: "*********(redacted)" });
    expect(JSON.stringify(shown)).not.toContain("hush");
    const { env, ...container } = first(pod);
    expect(first(shown)).toMatchObject(container);
    expect(first(shown).env?.filter(({ name }) => name !== "DB_PASSWORD")).toEqual(env?.filter(({ name }) => name !== "DB_PASSWORD"));
    expect({ ...shown, spec: { ...shown.spec, containers: [] } }).toEqual({ ...pod, spec: { ...pod.spec, containers: [] } });
  });
});
