import type { SourcedConf } from "../core/ports.ts";
import { Problem } from "../core/problems.ts";
import type { Conf, SessionSpec } from "../core/spec.ts";
import { canonicalConf, plain, sourced } from "./conf.ts";
import { checkLimits } from "./limits.ts";

/** The operator's part of a driver's settings. */
export interface SparkSettings {
  /** Conf of every driver, where the session does not say otherwise. */
  readonly sparkConf: Readonly<Record<string, string>>;
  /** Where Spark runs when nobody says otherwise; null leaves it to Spark's own defaults file. */
  readonly defaultMaster: string | null;
  /** Spark's session time zone; null leaves it to Spark, which takes the machine's. */
  readonly timeZone: string | null;
  /** Conf keys no session may set. */
  readonly refusedConf: readonly string[];
  /** What drivers inherit; LONGWICK_ variables are left out. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** What a driver is told of Spark. The lists are what the session asked for, its conf's lists included. */
export interface SparkLaunch {
  readonly conf: SourcedConf;
  readonly jars: readonly string[];
  readonly pyFiles: readonly string[];
  readonly files: readonly string[];
  readonly archives: readonly string[];
  /** For Spark's processes, on top of what the driver inherits. */
  readonly env: Readonly<Record<string, string>>;
}

/** Neither a statement's output nor a log is a place for console bars. */
const OUR_CONF = { "spark.ui.showConsoleProgress": "false" };

/**
 * A driver that can take code does not wait for executors (design.md §4), and executors that were lost over days do not add up to its end:
 * Spark from 3.5 on ends its JVM after too many, three where there are one or two. An application that runs whole does as Spark does.
 */
const SESSION_CONF = { "spark.scheduler.minRegisteredResourcesRatio": "0", "spark.executor.failuresValidityInterval": "10m" };

/** The sixteen ports that Spark tries from 4040 on are too few for many sessions on one machine. */
const LOCAL_CONF = { "spark.ui.port": "0" };

/** In local mode nobody else has to reach the driver. Spark's UI heeds only this variable: it would listen on every address. */
const LOCAL_ENV = { SPARK_LOCAL_IP: "127.0.0.1" };

/** Lists that a session may give as a field and in its conf. */
const LIST_KEYS = { jars: "spark.jars", pyFiles: "spark.submit.pyFiles", files: "spark.files", archives: "spark.archives" } as const;

/**
 * The spec with its conf canonical and the operator's beside it, if a driver may be started as asked; checked before an id is taken.
 * @throws Problem SPEC_REFUSED, in Livy's words
 */
export const admittedSpec = (spec: SessionSpec, settings: SparkSettings): SessionSpec => {
  const admitted = { ...spec, conf: canonicalConf(spec.conf), configuration: configured(settings) };
  const refused = Object.keys(admitted.conf).filter((key) => settings.refusedConf.includes(key));
  if (refused.length > 0)
    throw new Problem("SPEC_REFUSED", `Rejected, Reason: Blacklisted configuration values in session config: ${refused.join(", ")}`);
  const base = operatorsConf(admitted, settings);
  if (admitted.preset !== undefined) checkLimits(admitted.preset, plain(base), { ...base, ...askedConf(admitted) });
  return admitted;
};

const configured = ({ sparkConf, timeZone }: SparkSettings): Conf => ({
  ...(timeZone === null ? {} : { "spark.sql.session.timeZone": timeZone }),
  ...sparkConf,
});

/** What lies beneath a session's own wishes: what the configuration was when it was made, as far as that was written down. */
const operatorsConf = ({ configuration, preset }: SessionSpec, settings: SparkSettings): SourcedConf => ({
  ...sourced("configuration", configuration ?? configured(settings)),
  ...(preset === undefined ? {} : sourced(`preset ${preset.name}`, preset.conf)),
});

/** A session's own wishes but for its lists: its fields go before its conf, as in Livy. */
const askedConf = (spec: SessionSpec): SourcedConf => {
  const lists = new Set<string>(Object.values(LIST_KEYS));
  const conf = Object.fromEntries(Object.entries(spec.conf).filter(([key]) => !lists.has(key)));
  return { ...sourced("user", conf), ...fields(spec) };
};

/**
 * The conf a session's driver runs with, each value with its source: what the session asks for goes before its preset, that before the
 * operator's configuration, that before ours.
 */
export const sparkLaunch = (id: number, spec: SessionSpec, settings: SparkSettings): SparkLaunch => {
  const wishes = {
    ...(settings.defaultMaster === null ? {} : sourced("server", { "spark.master": settings.defaultMaster })),
    ...operatorsConf(spec, settings),
    ...askedConf(spec),
  };
  const local = wishes["spark.master"]?.value.startsWith("local") === true;
  const conf = {
    ...sourced("server", {
      ...OUR_CONF,
      ...(spec.application === undefined ? SESSION_CONF : {}),
      ...(local ? LOCAL_CONF : {}),
      "spark.app.name": `longwick-${spec.application === undefined ? "session" : "batch"}-${id}`,
    }),
    ...wishes,
    // Whatever a defaults file says: the driver is here.
    ...sourced("server", { "spark.submit.deployMode": "client" }),
  };
  const env = local && settings.environment["SPARK_LOCAL_IP"] === undefined ? LOCAL_ENV : {};
  const list = (name: keyof typeof LIST_KEYS): string[] => [...new Set([...spec[name], ...splitList(spec.conf[LIST_KEYS[name]])])];
  return { conf, jars: list("jars"), pyFiles: list("pyFiles"), files: list("files"), archives: list("archives"), env };
};

/** Spark's names for Livy's sizes. */
export const SIZE_KEYS = {
  driverMemory: "spark.driver.memory",
  driverCores: "spark.driver.cores",
  executorMemory: "spark.executor.memory",
  executorCores: "spark.executor.cores",
  numExecutors: "spark.executor.instances",
} as const;
const FIELD_KEYS = { name: "spark.app.name", ...SIZE_KEYS, queue: "spark.yarn.queue" } as const;

/** Livy's fields under Spark's names; zero and null are "not asked for". */
const fields = (spec: SessionSpec): SourcedConf => {
  const names = Object.keys(FIELD_KEYS) as (keyof typeof FIELD_KEYS)[]; // the table's own keys
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = spec[name];
      return value === null || value === 0 ? [] : [[FIELD_KEYS[name], { value: String(value), source: `field ${name}` }]];
    }),
  );
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
