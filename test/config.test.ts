import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { clientVariables, isLoopback, kernelVariables, loadConfig, refuseSharedUser } from "../src/config.ts";

const directory = mkdtempSync(join(tmpdir(), "longwick-config-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const load = (argv: readonly string[] = [], env: Record<string, string> = {}) => loadConfig(argv, env, directory);
const written = (name: string, content: string): string => {
  const file = join(directory, name);
  writeFileSync(file, content);
  return file;
};

describe("where a value comes from", () => {
  test("flags go over variables, variables over the file, the file over defaults", () => {
    const file = written("order.toml", 'port = 1\nhost = "localhost"\nsqlRowLimit = 7\n');
    const { config, sources } = load(["--port", "3", "--config", file], { LONGWICK_PORT: "2", LONGWICK_HOST: "127.0.0.2" });
    expect([config.port, config.host, config.sqlRowLimit, config.queueLimit]).toEqual([3, "127.0.0.2", 7, 10_000]);
    expect([sources.port, sources.host, sources.sqlRowLimit, sources.queueLimit]).toEqual([
      "--port",
      "LONGWICK_HOST",
      `${file}, sqlRowLimit`,
      "default",
    ]);
  });

  test("longwick.toml of the working directory is read when nobody names a file", () => {
    written("longwick.toml", 'heldGetMs = "1s"\n');
    expect(load().config.heldGetMs).toBe(1_000);
    rmSync(join(directory, "longwick.toml"));
    expect(load().config.heldGetMs).toBe(250);
  });

  test("variables of other programs come before defaults and after everything of ours", () => {
    const env = { SPARK_HOME: "/opt/spark", XDG_CACHE_HOME: "/var/cache" };
    const { config, sources } = load([], env);
    expect([config.sparkHome, config.home, sources.home]).toEqual(["/opt/spark", "/var/cache/longwick", "XDG_CACHE_HOME"]);
    expect(load(["--spark-home", "/else"], env).config.sparkHome).toBe("/else");
  });

  test("relative paths count from where they were written, ~ is the home directory", () => {
    const file = written("paths.toml", 'htpasswd = "users"\nlocalPaths = ["data", "~/jars"]\n');
    const { config } = load(["--tokens", "tokens"], { LONGWICK_CONFIG: file });
    expect(config.htpasswd).toBe(join(directory, "users"));
    expect(config.tokens).toBe(join(directory, "tokens"));
    expect(config.localPaths).toEqual([join(directory, "data"), join(homedir(), "jars")]);
    expect(config.home).toBe(join(homedir(), ".cache/longwick"));
  });
});

describe("how text is read", () => {
  test.for([
    ["--idle-timeout-ms=90s", "idleTimeoutMs", 90_000],
    ["--idle-timeout-ms=1.5h", "idleTimeoutMs", 5_400_000],
    ["--idle-timeout-ms=250", "idleTimeoutMs", 250],
    ["--body-limit-bytes=2MiB", "bodyLimitBytes", 2_097_152],
    ["--body-limit-bytes=4k", "bodyLimitBytes", 4096],
    ["--csrf-protection", "csrfProtection", true],
    ["--no-csrf-protection", "csrfProtection", false],
    ["--csrf-protection=false", "csrfProtection", false],
    ["--superusers=ann, bob", "superusers", ["ann", "bob"]],
    ["--spark-conf=spark.a.b=c=d,e", "sparkConf", { "spark.a.b": "c=d,e" }],
    ['--spark-conf={"spark.a": 1}', "sparkConf", { "spark.a": "1" }],
  ] as const)("%s", ([flag, name, value]) => {
    expect(load([flag]).config[name]).toEqual(value);
  });

  test("a flag that is given twice adds to a list and to pairs, and else the last one counts", () => {
    const { config } = load([
      "--view-users",
      "a,b",
      "--view-users",
      "c",
      "--spark-conf",
      "x=1",
      "--spark-conf",
      "y=2",
      "--port",
      "1",
      "--port",
      "2",
    ]);
    expect([config.viewUsers, config.sparkConf, config.port]).toEqual([["a", "b", "c"], { x: "1", y: "2" }, 2]);
  });

  test("dotted keys of a TOML table are Spark's names, whatever their values' type", () => {
    const file = written("spark.toml", '[sparkConf]\nspark.executor.cores = 4\n"spark.sql.ansi.enabled" = true\nspark.app.name = "n"\n');
    expect(load(["--config", file]).config.sparkConf).toEqual({
      "spark.executor.cores": "4",
      "spark.sql.ansi.enabled": "true",
      "spark.app.name": "n",
    });
  });

  test("an empty variable is no value, but an empty list", () => {
    expect(load([], { LONGWICK_PORT: "", LONGWICK_REFUSED_CONF: "" }).config).toMatchObject({ port: 8998, refusedConf: [] });
  });
});

describe("what is refused", () => {
  test.for([
    [["--prot", "1"], {}, "Unknown flag --prot. Did you mean --port?"],
    [["--idleTimeoutMs", "1"], {}, "Unknown flag --idleTimeoutMs. Did you mean --idle-timeout-ms?"],
    [["--completely-else"], {}, /^Unknown flag --completely-else\.$/],
    [["serve"], {}, "Unexpected argument: serve"],
    [["--port"], {}, "--port needs a value."],
    [["--port", "70000"], {}, "--port: must be <= 65535"],
    [["--port", "80a"], {}, '--port: must be a whole number, not "80a"'],
    [["--ttl-ms", "soon"], {}, "--ttl-ms: must be a duration like 90s"],
    [["--body-limit-bytes", "many"], {}, "--body-limit-bytes: must be a size like 512k"],
    [["--log-level", "loud"], {}, "--log-level: must be one of trace, debug, info, warn, error, silent"],
    [["--csrf-protection=maybe"], {}, "--csrf-protection: must be true or false"],
    [["--spark-conf", "novalue"], {}, "--spark-conf: must be key=value or a JSON object"],
    [["--base-path", "spark/"], {}, "--base-path: must match pattern"],
    [["--config", "absent.toml"], {}, "absent.toml: ENOENT"],
    [[], { LONGWICK_PROT: "1" }, "Unknown variable LONGWICK_PROT. Did you mean LONGWICK_PORT?"],
    [[], { LONGWICK_PORT: "x" }, "LONGWICK_PORT: must be a whole number"],
  ] as const)("%j with %j", ([argv, env, message]) => {
    expect(() => load(argv, env)).toThrow(message);
  });

  test("in a file: what is unknown, what is of another type, what is no TOML", () => {
    expect(() => load(["--config", written("a.toml", "portt = 1")])).toThrow("unknown option portt. Did you mean port?");
    expect(() => load(["--config", written("b.toml", 'superusers = "ann"')])).toThrow("b.toml, superusers: must be array");
    expect(() => load(["--config", written("c.toml", "port = ")])).toThrow("c.toml: ");
    expect(() => load(["--config", written("d.toml", "[sparkConf]\nx = [1]")])).toThrow("d.toml, sparkConf.x: must be string");
  });

  test("everything that is wrong is said at once", () => {
    expect(() => load(["--port", "x", "--hots", "y"], { LONGWICK_TTL_MS: "z" })).toThrow(
      /port[\s\S]*hots[\s\S]*TTL|hots[\s\S]*port[\s\S]*TTL/,
    );
  });

  test("but not the variables that Kubernetes sets beside a Service called longwick, nor those of drivers and clients", () => {
    const env = {
      LONGWICK_PORT: "tcp://10.0.0.1:8998",
      LONGWICK_PORT_8998_TCP_ADDR: "10.0.0.1",
      LONGWICK_SERVICE_HOST: "10.0.0.1",
      LONGWICK_TEST_BREAK: "/usr/bin/break",
      LONGWICK_SERVICE_PORT_HTTP: "8998",
      LONGWICK_SESSION: "uid",
      LONGWICK_URL: "http://127.0.0.1:8998",
    };
    expect(load([], env).config.port).toBe(8998);
  });
});

describe("presets", () => {
  test("are tables: times, sizes, paths and dotted conf keys are read as elsewhere", () => {
    const file = written(
      "presets.toml",
      `defaultPreset = "small"
[presets.small]
description = "For looking around."
driverMemory = "2g"
numExecutors = 2
idleTimeout = "30m"
conf.spark.sql.shuffle.partitions = 8
driverTemplate = "pods/driver.yaml"
[presets.small.limits]
sessionsPerUser = 2
executorMemory = "8g"
[presets."gpu.v1"]
users = ["ann"]
`,
    );
    const { presets, defaultPreset } = load(["--config", file]).config;
    expect(defaultPreset).toBe("small");
    expect(presets).toEqual({
      small: {
        ...{ description: "For looking around.", driverMemory: "2g", numExecutors: 2, idleTimeout: 1_800_000 },
        conf: { "spark.sql.shuffle.partitions": "8" },
        driverTemplate: join(directory, "pods/driver.yaml"),
        limits: { sessionsPerUser: 2, executorMemory: "8g" },
      },
      "gpu.v1": { users: ["ann"] },
    });
  });

  test("are one JSON object as a flag or a variable", () => {
    const presets = { small: { ttl: "2h", conf: { "spark.a": 1 } } };
    const read = { small: { ttl: 7_200_000, conf: { "spark.a": "1" } } };
    expect(load(["--presets", JSON.stringify(presets)]).config.presets).toEqual(read);
    expect(load([], { LONGWICK_PRESETS: JSON.stringify(presets) }).config.presets).toEqual(read);
    expect(() => load(["--presets", "small"])).toThrow("--presets: is not a JSON object");
  });

  test.for([
    ['[presets.a]\ndrvierMemory = "2g"', "presets.a: unknown key drvierMemory. Did you mean driverMemory?"],
    ["[presets.a]\nzzz = 1", "presets.a: unknown key zzz. There are displayName, description, users"],
    ["[presets.a.limits]\nsessions = 1", "presets.a.limits: unknown key sessions. There are sessionsPerUser"],
    ["[presets.a.limits]\nnumExecutor = 1", "presets.a.limits: unknown key numExecutor. Did you mean numExecutors?"],
    ['[presets.a]\ndriverMemory = "lots"', "presets.a.driverMemory: must be a size as Spark writes it, like 2g or 512m"],
    ['[presets.a.limits]\nexecutorMemory = "1.5g"', "presets.a.limits.executorMemory: must be a size as Spark writes it"],
    ["[presets.a]\nnumExecutors = 0", "presets.a.numExecutors: must be >= 1"],
    ['[presets.a]\nnumExecutors = "2"', "presets.a.numExecutors: must be integer"],
    ['[presets.a]\nkind = "cobol"', "presets.a.kind: must be one of shared, pyspark, sql, spark, sparkr"],
    ['[presets.a]\nttl = "soon"', "presets: a.ttl: must be a duration like 90s"],
    ["[presets.a.conf]\nspark.x = [1]", "presets.a.conf.spark.x: must be string"],
    ['[presets."a b"]\n', "presets: 'a b' is no name here, it must match ^[A-Za-z0-9]"],
    ["presets = 1", "presets: must be object"],
    ['presets.a = "x"', "presets.a: must be object"],
    ['defaultPreset = "smal"\n[presets.small]', "--default-preset: there is no preset 'smal'. Did you mean small?"],
    ['defaultPreset = "constructor"', "--default-preset: there is no preset 'constructor'. Presets are tables"],
  ] as const)("%j is refused by its key", ([content, message]) => {
    expect(() => load(["--config", written("wrong.toml", content)])).toThrow(message);
  });

  test("that are wrong in several places are told of all of them", () => {
    const file = written("several.toml", '[presets.a]\nimge = "x"\n[presets.b]\nttl = -1\n');
    expect(() => load(["--config", file])).toThrow(/presets\.a: unknown key imge[\s\S]*presets\.b\.ttl: must be >= 0/);
  });
});

describe("what is unsafe", () => {
  test.for(["0.0.0.0", "::", "spark.example.org", "10.1.2.3", "127.0.0.1.example.org"])(
    "%s is not listened on without authentication",
    (host) => {
      expect(() => load(["--host", host])).toThrow(`Refusing to listen on ${host} without authentication`);
    },
  );

  test("passwords and tokens are not taken in clear from other machines, unless that is meant", () => {
    const argv = ["--host", "0.0.0.0", "--htpasswd", "users"];
    expect(() => load(argv)).toThrow("Refusing to take passwords in clear on 0.0.0.0");
    expect(load([...argv, "--allow-cleartext-passwords"]).config.allowCleartextPasswords).toBe(true);
    expect(load([...argv, "--tls-cert", "c.pem", "--tls-key", "k.pem"]).config.tlsKey).toBe(join(directory, "k.pem"));
    expect(load(["--htpasswd", "users"]).config.host).toBe("127.0.0.1");
  });

  test("a certificate without its key is no TLS", () => {
    expect(() => load(["--tls-cert", "c.pem"])).toThrow("--tls-cert and --tls-key go together");
  });

  test("several users do not share the server's operating-system user, unless that is meant", () => {
    const { config } = load(["--htpasswd", "users"]);
    expect(() => refuseSharedUser(config, ["ann", "bob"])).toThrow("2 users can start drivers");
    expect(() => refuseSharedUser(config, ["ann", "ann"])).not.toThrow();
    expect(() => refuseSharedUser({ ...config, allowSharedUser: true }, ["ann", "bob"])).not.toThrow();
    expect(() => refuseSharedUser({ ...config, allowedUsers: ["bob"] }, ["ann", "bob"])).not.toThrow();
    expect(() => refuseSharedUser({ ...config, allowedUsers: ["bob"], superusers: ["ann"] }, ["ann", "bob"])).toThrow("2 users");
    expect(() => refuseSharedUser({ ...config, allowedUsers: ["*"] }, ["ann", "bob"])).toThrow("2 users");
    expect(() => refuseSharedUser({ ...config, allowedUsers: ["bob"], superusers: ["*"] }, ["ann", "bob"])).toThrow("2 users");
  });

  test.for([
    ["127.0.0.1", true],
    ["127.8.9.1", true],
    ["::1", true],
    ["localhost", true],
    ["0.0.0.0", false],
    ["127.evil.org", false],
    ["localhost.evil.org", false],
  ] as const)("%s is loopback: %s", ([host, loopback]) => {
    expect(isLoopback(host)).toBe(loopback);
  });
});

describe("what is no option of the server", () => {
  test("a client's token may be in a file, which is read anew each time; a variable goes before it", () => {
    const directory = mkdtempSync(join(tmpdir(), "lw-"));
    try {
      const file = join(directory, "token");
      const env = { LONGWICK_URL: "http://h", LONGWICK_TOKEN_FILE: file };
      expect(() => clientVariables(env)).toThrow("LONGWICK_TOKEN_FILE: ENOENT");
      for (const token of ["first", "second"]) {
        writeFileSync(file, `${token}\n`);
        expect(clientVariables(env)).toEqual({ url: "http://h", token });
      }
      expect(clientVariables({ ...env, LONGWICK_TOKEN: "third" }).token).toBe("third");
      expect(clientVariables({ LONGWICK_URL: "", LONGWICK_TOKEN: "" })).toEqual({ url: null, token: null });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("a kernel is told its kernelspec, its manager and what the manager hands on", () => {
    const env = { LONGWICK_KERNELSPEC: "gpu", JPY_PARENT_PID: "7", KERNEL_USERNAME: "ann", PATH: "/bin" };
    expect(kernelVariables(env)).toEqual({ kernelspec: "gpu", manager: "7", handed: { KERNEL_USERNAME: "ann" } });
    expect(kernelVariables({})).toEqual({ kernelspec: null, manager: null, handed: {} });
  });
});
