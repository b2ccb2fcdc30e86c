import { Problem } from "../core/problems.ts";
import type { SessionSpec } from "../core/spec.ts";

/** The operator's part of a driver's settings. */
export interface SparkSettings {
  /** Conf of every driver, where the session does not say otherwise. */
  readonly sparkConf: Readonly<Record<string, string>>;
  /** Spark's session time zone; null leaves it to Spark, which takes the machine's. */
  readonly timeZone: string | null;
  /** Conf keys no session may set. */
  readonly refusedConf: readonly string[];
  /** What drivers inherit; LONGWICK_ variables are left out. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** What a driver is told of Spark. The lists are what the session asked for, its conf's lists included. */
export interface SparkLaunch {
  readonly conf: Readonly<Record<string, string>>;
  readonly jars: readonly string[];
  readonly pyFiles: readonly string[];
  readonly files: readonly string[];
  readonly archives: readonly string[];
  /** For Spark's processes, on top of what the driver inherits. */
  readonly env: Readonly<Record<string, string>>;
}

/** A statement's output is no place for console bars, and a driver that can take code does not wait for executors (design.md §4). */
const OUR_CONF = {
  "spark.ui.showConsoleProgress": "false",
  "spark.scheduler.minRegisteredResourcesRatio": "0",
};

/** The sixteen ports that Spark tries from 4040 on are too few for many sessions on one machine. */
const LOCAL_CONF = { "spark.ui.port": "0" };

/** In local mode nobody else has to reach the driver. Spark's UI heeds only this variable: it would listen on every address. */
const LOCAL_ENV = { SPARK_LOCAL_IP: "127.0.0.1" };

/** Lists that a session may give as a field and in its conf. */
const LIST_KEYS = { jars: "spark.jars", pyFiles: "spark.submit.pyFiles", files: "spark.files", archives: "spark.archives" } as const;

/**
 * Whether a driver can be started as asked; checked before an id is taken.
 * @throws Problem SPEC_REFUSED, in Livy's words
 */
export const checkSpec = (spec: SessionSpec, { refusedConf }: SparkSettings): void => {
  const refused = Object.keys(spec.conf).filter((key) => refusedConf.includes(key));
  if (refused.length === 0) return;
  throw new Problem("SPEC_REFUSED", `Rejected, Reason: Blacklisted configuration values in session config: ${refused.join(", ")}`);
};

/**
 * The conf a session's driver runs with. The session's own fields go before its conf (as in Livy), that before the operator's, that
 * before ours.
 */
export const sparkLaunch = (id: number, spec: SessionSpec, settings: SparkSettings): SparkLaunch => {
  const lists = new Set<string>(Object.values(LIST_KEYS));
  const asked = Object.fromEntries(Object.entries(spec.conf).filter(([key]) => !lists.has(key)));
  const local = (asked["spark.master"] ?? settings.sparkConf["spark.master"])?.startsWith("local") === true;
  const conf = {
    ...OUR_CONF,
    ...(settings.timeZone === null ? {} : { "spark.sql.session.timeZone": settings.timeZone }),
    ...(local ? LOCAL_CONF : {}),
    "spark.app.name": `longwick-session-${id}`,
    ...settings.sparkConf,
    ...asked,
    ...fields(spec),
    // Whatever a defaults file says: the driver is here.
    "spark.submit.deployMode": "client",
  };
  const env = local && settings.environment["SPARK_LOCAL_IP"] === undefined ? LOCAL_ENV : {};
  const list = (name: keyof typeof LIST_KEYS): string[] => [...new Set([...spec[name], ...splitList(spec.conf[LIST_KEYS[name]])])];
  return { conf, jars: list("jars"), pyFiles: list("pyFiles"), files: list("files"), archives: list("archives"), env };
};

/** Livy's fields under Spark's names; zero and null are "not asked for". */
const fields = (spec: SessionSpec): Record<string, string> => {
  const named: Record<string, string | number | null> = {
    "spark.app.name": spec.name,
    "spark.driver.memory": spec.driverMemory,
    "spark.driver.cores": spec.driverCores,
    "spark.executor.memory": spec.executorMemory,
    "spark.executor.cores": spec.executorCores,
    "spark.executor.instances": spec.numExecutors,
    "spark.yarn.queue": spec.queue,
  };
  return Object.fromEntries(Object.entries(named).flatMap(([key, value]) => (value === null || value === 0 ? [] : [[key, String(value)]])));
};

/** At commas alone, as Spark does and as whoever checked the URIs did. */
const splitList = (list: string | undefined): string[] =>
  (list ?? "")
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");

/**
 * The environment of every process of a driver: the server's own without what is meant for the server, in UTF-8 whatever the locale.
 * `session` marks each process, so that stragglers can be found.
 */
export const driverEnvironment = (
  inherited: Readonly<Record<string, string | undefined>>,
  session: string,
  shimDir: string,
): Record<string, string> => {
  const kept = Object.entries(inherited).flatMap(([name, value]) =>
    value === undefined || name.startsWith("LONGWICK_") || name === "PYTHONIOENCODING" ? [] : [[name, value]],
  );
  const environment: Record<string, string> = Object.fromEntries(kept);
  const locale = environment["LC_ALL"] || environment["LC_CTYPE"] || environment["LANG"] || "";
  if (!/utf-?8$/i.test(locale)) environment["LC_ALL"] = "C.UTF-8";
  return {
    ...environment,
    PYTHONPATH: [shimDir, environment["PYTHONPATH"]].filter((path) => path !== undefined && path !== "").join(":"),
    PYTHONUTF8: "1",
    PYTHONUNBUFFERED: "1",
    LONGWICK_SESSION: session,
  };
};
