import { flagOf, OPTION_GROUPS, type Option, optionsOf, variableOf } from "./options.ts";
import { PresetLimitsTable, PresetTable } from "./preset-tables.ts";

/** What people read of the configuration, all of it taken from the schema in `options.ts`. */

const VALUE: Readonly<Record<Option["kind"], string>> = {
  text: "TEXT",
  path: "PATH",
  command: "PROGRAM",
  flag: "",
  count: "N",
  duration: "TIME",
  bytes: "SIZE",
  list: "A,B,…",
  pairs: "KEY=VALUE",
  presets: "JSON",
  choice: "",
};

const UNITS_MS = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "m"],
  [1_000, "s"],
] as const;
const UNITS_BYTES = [
  [1024 ** 3, "GiB"],
  [1024 ** 2, "MiB"],
  [1024, "KiB"],
] as const;

const inUnits = (value: number, units: readonly (readonly [number, string])[], least: string): string => {
  const [size, unit] = units.find(([candidate]) => value >= candidate && value % candidate === 0) ?? [1, least];
  return value === 0 ? "0" : `${value / size}${unit}`;
};

/** The default as one would write it; empty when there is none. */
const defaultText = ({ kind, default: value }: Option): string => {
  if (value === null) return "";
  if (kind === "duration") return inUnits(Number(value), UNITS_MS, "ms");
  if (kind === "bytes") return inUnits(Number(value), UNITS_BYTES, "");
  if (Array.isArray(value)) return value.join(",");
  if (kind === "pairs" || kind === "presets") return "";
  return String(value);
};

const valueText = (option: Option): string => (option.kind === "choice" ? option.choices.join("|") : VALUE[option.kind]);

const wrap = (text: string, width: number, indent: string): string => {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].join(`\n${indent}`);
};

const COLUMN = 32;
const TEXT_WIDTH = 88;

const helpOf = (option: Option): string => {
  const left = `  ${flagOf(option.name)} ${valueText(option)}`.trimEnd();
  const shown = defaultText(option);
  const text = wrap(`${option.description}${shown === "" || option.kind === "flag" ? "" : ` [${shown}]`}`, TEXT_WIDTH, " ".repeat(COLUMN));
  return left.length + 2 > COLUMN ? `${left}\n${" ".repeat(COLUMN)}${text}` : left.padEnd(COLUMN) + text;
};

/** `longwick --help`. */
export const helpText = (): string => {
  const groups = Object.entries(OPTION_GROUPS).map(([title, group]) => [`${title}:`, ...optionsOf(group).map(helpOf)].join("\n"));
  return `longwick: interactive Apache Spark behind Livy-compatible REST

Usage:
  longwick [serve] [OPTION…]    start the server; the first start prepares PySpark
  longwick run FILE [OPTION…]   run a Python or SQL file ("-": standard input) in a session of its own and print
                                its output as it comes; the exit code is 1 when it fails
  longwick run -c CODE          the same for code on the command line
  longwick submit [OPTION…] FILE [ARG…]
                                run a whole application, a Python file or a jar, as a batch and print its id; with
                                --wait the exit code is 0 when it succeeds, else 1, and the reason is on standard error
  longwick doctor               check Python, Java, Spark, directories and the port; say how to mend what is missing
  longwick kernelspec install [--user | --sys-prefix | --prefix DIR] [--name NAME] [--display-name TEXT]
                              [--env NAME=VALUE]… [--preset NAME]…
                                show the kernel to Jupyter: a server's with --env LONGWICK_URL=…, else one of its own;
                                with --preset one kernelspec for each of these presets
  longwick kernelspec install --gateway [--user | --sys-prefix | --prefix DIR]
                                no kernel, but JupyterLab's extension for those of jupyter lab --gateway-url
  longwick kernelspec list | remove NAME…
  longwick kernel -f FILE       the kernel itself, as Jupyter starts it
  longwick --version | --help

Options of run:
  --url URL                     server to use (variable LONGWICK_URL; user:password may be in it). Without one, a
                                server is started for this run alone
  --token TOKEN                 bearer token for that server (better: the variable LONGWICK_TOKEN)
  --kind pyspark|sql            what the code is; a file called .sql is sql

Options of submit, before the FILE (what comes after it are the application's arguments):
  --url URL, --token TOKEN      as of run; without a server one is started for this batch alone, with --wait
  --wait                        wait for its end; what it writes goes to standard error as it comes
  --follow                      the same, but what it writes goes to standard output, and its id to standard error
  --kill-on-interrupt           Ctrl-C and SIGTERM end the batch too, not the wait alone (exit code 130 both ways)
  --name NAME, --class CLASS, --conf KEY=VALUE…, --preset NAME, --proxy-user USER, --queue QUEUE, --ttl TIME
  --driver-memory SIZE, --driver-cores N, --executor-memory SIZE, --executor-cores N, --num-executors N
  --jars A,B,… --py-files A,B,… --files A,B,… --archives A,B,…
                                as FILE: a path of this machine, sent along when the server's drivers cannot read it,
                                or a URI that they can (local:///…, s3a://…, https://…)
  --retry N, --retry-backoff SECONDS, --retry-on CAUSE,…
                                attempts in all, the pause after the first, and the ends that are tried again
  --idempotency-key KEY         the same key names the same batch, however often it is submitted
  --args-json LIST              arguments as one JSON list, before those that come after the FILE

Every option below may be a flag, a variable (--idle-timeout-ms is LONGWICK_IDLE_TIMEOUT_MS) or a line of a TOML file
(idleTimeoutMs = "2h"): flags win over variables, those over the file, which is --config FILE, LONGWICK_CONFIG or
./longwick.toml. TIME is 90s, 15m, 2h, 1d or milliseconds; SIZE is 512k, 64MiB, 2g or bytes.

${groups.join("\n\n")}
`;
};

const cell = (text: string): string => text.replaceAll("|", "\\|");

const row = (option: Option): string => {
  const fallback =
    option.fallback === null
      ? ""
      : ` Without it, the variable \`${option.fallback.variable}\` counts${option.fallback.under === undefined ? "" : ` (\`/${option.fallback.under}\` is appended)`}.`;
  const value = valueText(option);
  const shown = defaultText(option);
  return `| \`${option.name}\` | ${value === "" ? "true, false" : cell(value.replaceAll("|", ", "))} | ${shown === "" ? "" : `\`${cell(shown)}\``} | ${cell(option.description)}${fallback} |`;
};

/** What a preset's table may have: its keys are requests' fields, or like them. */
const presetSection = (): readonly string[] => [
  "",
  "## Presets",
  "",
  "A preset is a table of the file; as a flag or a variable `presets` is one JSON object of all. [operations.md](operations.md#presets) tells how",
  "they work.",
  "",
  "```toml",
  'defaultPreset = "small"',
  "",
  "[presets.small]",
  'displayName = "Small"',
  'description = "For looking around: two executors of 2 GiB."',
  'driverMemory = "2g"',
  'executorMemory = "2g"',
  "numExecutors = 2",
  "",
  "[presets.small.limits]",
  "sessionsPerUser = 2",
  'executorMemory = "8g"',
  "numExecutors = 4",
  "",
  "[presets.gpu]",
  'image = "registry.example/spark-gpu:4.1"',
  'driverTemplate = "gpu-driver.yaml"',
  'users = ["ann", "bob"]',
  'conf.spark.executor.resource.gpu.amount = "1"',
  "```",
  "",
  "| key of `[presets.NAME]` | value | |",
  "|---|---|---|",
  ...Object.entries(PresetTable.properties).map(([key, property]) => presetRow(key, property as PresetProperty)),
  "",
  "| key of `[presets.NAME.limits]` | value | |",
  "|---|---|---|",
  ...Object.entries(PresetLimitsTable.properties).map(([key, property]) => presetRow(key, property as PresetProperty)),
];

/** The fields of a TypeBox schema, a JSON Schema object, that its row needs. */
interface PresetProperty {
  readonly type?: string;
  readonly format?: string;
  readonly enum?: readonly string[];
  readonly description?: string;
}

const PRESET_VALUE: Readonly<Record<string, string>> = {
  path: "PATH",
  memory: "SIZE as Spark writes it",
  duration: "TIME",
  pairs: "table",
  object: "table",
  array: "list",
  integer: "N",
};

const presetRow = (key: string, { type = "", format = "", enum: choices, description = "" }: PresetProperty): string =>
  `| \`${key}\` | ${choices?.join(", ") ?? PRESET_VALUE[format] ?? PRESET_VALUE[type] ?? "TEXT"} | ${cell(description)} |`;

/** `docs/configuration.md`. */
export const configurationPage = (): string => {
  const lines = [
    "# Configuration",
    "",
    "<!-- Generated by `npm run docs` from src/options.ts: do not edit. -->",
    "",
    "An option is a flag of `longwick serve` (`--idle-timeout-ms 2h`), a variable (`LONGWICK_IDLE_TIMEOUT_MS=2h`) or a line of a TOML file",
    '(`idleTimeoutMs = "2h"`). Flags win over variables, variables over the file, the file over defaults. The file is the one named by `--config`',
    "or `LONGWICK_CONFIG`, else `longwick.toml` in the working directory. An option that does not exist is refused, with the one that was probably",
    "meant; so is a value that does not fit. `longwick doctor` shows where each value came from.",
    "",
    "- Times are `250ms`, `90s`, `15m`, `2h`, `1d` or a number of milliseconds; sizes are `512k`, `64MiB`, `2g` or a number of bytes.",
    "- Lists are separated by commas in flags and variables; a flag may be given several times. In the file they are arrays.",
    "- Pairs are `--spark-conf spark.executor.memory=2g`, as often as needed; in a variable one JSON object; in the file a table.",
    "- A switch is turned on by its flag alone and off by `--no-…`.",
    "- Relative paths count from the working directory, in the file from the file's directory; `~` is the home directory.",
    "",
    "```toml",
    'host = "0.0.0.0"',
    'htpasswd = "users.htpasswd"',
    'tlsCert = "server.pem"',
    'tlsKey = "server.key"',
    'idleTimeoutMs = "8h"',
    "",
    "[sparkConf]",
    'spark.executor.memory = "2g"',
    'spark.sql.shuffle.partitions = "8"',
    "```",
  ];
  for (const [title, group] of Object.entries(OPTION_GROUPS)) {
    lines.push("", `## ${title}`, "", "| option | value | default | |", "|---|---|---|---|", ...optionsOf(group).map(row));
  }
  lines.push(
    "",
    `Variables follow from the names: \`sparkHome\` is \`${variableOf("sparkHome")}\`. \`LONGWICK_URL\`, \`LONGWICK_TOKEN\` and \`LONGWICK_TOKEN_FILE\` belong to \`longwick run\`, \`longwick submit\` and the [kernel](jupyter.md), \`LONGWICK_KERNELSPEC\` to the kernel.`,
    ...presetSection(),
  );
  return `${lines.join("\n")}\n`;
};
