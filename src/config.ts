import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { type ParseArgsConfig, parseArgs } from "node:util";
import { parse as parseToml } from "smol-toml";
import { complaintsOf } from "./complaint.ts";
import { listed } from "./core/access.ts";
import { nearest } from "./nearest.ts";
import { readStructured, readText } from "./option-text.ts";
import { Config, flagOf, OPTIONS, type Option, type OptionName, variableOf } from "./options.ts";
import { mapPresets } from "./preset-tables.ts";

export type { Config } from "./options.ts";

/** The configuration cannot be used; the message has one line for each thing that is wrong, and says how to mend it. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
  }
}

export interface LoadedConfig {
  readonly config: Config;
  /** Where each value came from, as a person would name it: `--port`, `LONGWICK_PORT`, `longwick.toml`, `default`. */
  readonly sources: Readonly<Record<OptionName, string>>;
}

/** The file that is read from the working directory when nobody names another. */
export const CONFIG_FILE = "longwick.toml";
/** Variables of the client commands and of our own drivers, which are no options of the server. */
const OTHER_VARIABLES: ReadonlySet<string> = new Set(
  ["CONFIG", "URL", "TOKEN", "TOKEN_FILE", "KERNELSPEC", "SESSION", "PIPE", "INTERPRETER"].map((name) => `LONGWICK_${name}`),
);
/** Those of this project's own tests. */
const TEST_VARIABLE = /^LONGWICK_TEST_/;
/** What Kubernetes sets in every pod beside a Service that is called `longwick`. */
const SERVICE_VARIABLE = /^LONGWICK_(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP)\w*)$/;
const SERVICE_ADDRESS = /^(tcp|udp):\/\//;

interface Found {
  readonly value: unknown;
  readonly source: string;
}
type Layer = Map<OptionName, Found>;
type Env = Readonly<Record<string, string | undefined>>;

/**
 * Flags over `LONGWICK_*` variables over a file (`--config`, `LONGWICK_CONFIG`, else `longwick.toml` here) over variables of other
 * programs (`SPARK_HOME`) over defaults. Every option's schema is in `options.ts`.
 * @throws ConfigError for whatever it does not know, cannot read or must not accept
 */
export const loadConfig = (argv: readonly string[], env: Env = process.env, cwd: string = process.cwd()): LoadedConfig => {
  const problems: string[] = [];
  const { flags, configFile } = readFlags(argv, cwd, problems);
  const variables = readVariables(env, cwd, problems);
  const file = readFile(configFile ?? env["LONGWICK_CONFIG"] ?? null, cwd, problems);
  const layers = [flags, variables, file, readFallbacks(env, cwd)];

  const values: Partial<Record<OptionName, unknown>> = {};
  const sources: Partial<Record<OptionName, string>> = {};
  for (const option of OPTIONS) {
    const layer = layers.find((candidate) => candidate.has(option.name));
    const { value, source } = layer?.get(option.name) ?? { value: defaultOf(option), source: "default" };
    values[option.name] = value;
    sources[option.name] = source;
    problems.push(...complaintsOf(Config.properties[option.name], value).map(({ place, words }) => `${source}${place}: ${words}`));
  }
  if (problems.length > 0) throw new ConfigError(problems);
  // Each value has just been checked against its schema, and every option has one.
  const config = values as Config;
  refuseUnsafe(config);
  refuseUnknownPreset(config);
  return { config, sources: sources as Record<OptionName, string> };
};

/**
 * The server that `longwick run` and the kernel talk to, and the token they show there, as the environment names them; a token's file is
 * read anew each time. @throws ConfigError when that file cannot be read
 */
export const clientVariables = (env: Env = process.env): { readonly url: string | null; readonly token: string | null } => ({
  url: env["LONGWICK_URL"] || null,
  token: env["LONGWICK_TOKEN"] || (env["LONGWICK_TOKEN_FILE"] ? tokenIn(expandHome(env["LONGWICK_TOKEN_FILE"])) : null),
});

const tokenIn = (file: string): string => {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new ConfigError([`LONGWICK_TOKEN_FILE: ${error instanceof Error ? error.message : String(error)}`]);
  }
};

/** What a kernel's environment says of it: which of the server's kernelspecs it is, which process manages it, and what that hands to kernels (`KERNEL_*`). */
export const kernelVariables = (
  env: Env = process.env,
): { readonly kernelspec: string | null; readonly manager: string | null; readonly handed: Readonly<Record<string, string>> } => ({
  kernelspec: env["LONGWICK_KERNELSPEC"] || null,
  manager: env["JPY_PARENT_PID"] || null,
  handed: Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (name.startsWith("KERNEL_") && value !== undefined ? [[name, value]] : [])),
  ),
});

/** What the server was started with; the launcher passes on to drivers what is not meant for the server. */
export const inheritedEnvironment = (): Env => process.env;

/**
 * Local drivers share the server's operating-system user, so whoever runs code can read and end what the others run.
 * @throws ConfigError unless at most one user can start drivers or the operator has said that this is meant
 */
export const refuseSharedUser = (config: Config, users: readonly string[]): void => {
  const { launcher, allowSharedUser, allowedUsers, superusers } = config;
  const able = new Set(allowedUsers.length === 0 ? users : users.filter((user) => listed(allowedUsers, user) || listed(superusers, user)));
  if (launcher !== "local" || allowSharedUser || able.size <= 1) return;
  throw new ConfigError([
    `${able.size} users can start drivers, and all drivers would run as this process's own operating-system user: each user could read the others' files and end their sessions. ` +
      "If that is meant, set --allow-shared-user; to let only one of them in, name them in --allowed-users.",
  ]);
};

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/i;

/** Whether only this machine can connect to the host. */
export const isLoopback = (host: string): boolean => LOOPBACK.test(host);

const refuseUnsafe = (config: Config): void => {
  const { host, htpasswd, tokens, tlsCert, tlsKey, allowCleartextPasswords } = config;
  const problems: string[] = [];
  if ((tlsCert === null) !== (tlsKey === null)) problems.push("--tls-cert and --tls-key go together: give both or none.");
  if (!isLoopback(host) && htpasswd === null && tokens === null) {
    problems.push(
      `Refusing to listen on ${host} without authentication: whoever reaches the port could run code as you. ` +
        "Make a user (htpasswd -B -c users.htpasswd NAME) and add --htpasswd users.htpasswd, or use --tokens; or listen on 127.0.0.1.",
    );
  } else if (!isLoopback(host) && tlsCert === null && !allowCleartextPasswords) {
    problems.push(
      `Refusing to take passwords in clear on ${host}: give --tls-cert and --tls-key, ` +
        "or, when a proxy in front ends TLS or the network is trusted, --allow-cleartext-passwords.",
    );
  }
  if (problems.length > 0) throw new ConfigError(problems);
};

const refuseUnknownPreset = ({ defaultPreset, presets }: Config): void => {
  if (defaultPreset === null || Object.hasOwn(presets, defaultPreset)) return;
  const guess = didYouMean(defaultPreset, Object.keys(presets), String);
  throw new ConfigError([`--default-preset: there is no preset '${defaultPreset}'.${guess} Presets are tables of the configuration file.`]);
};

const KNOWN_NAMES = OPTIONS.map(({ name }) => name);
const byName = new Map<string, Option>(OPTIONS.map((option) => [option.name, option]));

const byFlag = new Map(OPTIONS.map((option) => [flagOf(option.name).slice(2), option]));

/** Every flag of the server, as `node:util` parses them: known here, so that a command with flags of its own can tell them apart. */
export const SERVER_FLAGS: NonNullable<ParseArgsConfig["options"]> = Object.fromEntries(
  [...byFlag.keys(), "config"].map((flag) => [flag, { type: byFlag.get(flag)?.kind === "flag" ? "boolean" : "string", multiple: true }]),
);

const readFlags = (argv: readonly string[], cwd: string, problems: string[]): { flags: Layer; configFile: string | null } => {
  const flags: Layer = new Map();
  let configFile: string | null = null;
  const { tokens } = parseArgs({ args: [...argv], options: SERVER_FLAGS, strict: false, allowPositionals: true, tokens: true });
  const given = new Map<Option, string[]>();
  for (const token of tokens) {
    if (token.kind === "positional") problems.push(`Unexpected argument: ${token.value}`);
    if (token.kind !== "option") continue;
    const flag = token.name.replace(/^no-/, "");
    const option = byFlag.get(token.name) ?? (byFlag.get(flag)?.kind === "flag" ? byFlag.get(flag) : undefined);
    const value = option?.kind === "flag" ? (token.value ?? String(token.name === flag)) : token.value;
    if (option === undefined && token.name !== "config") {
      problems.push(`Unknown flag ${token.rawName}.${didYouMean(token.name, [...byFlag.keys(), "config"], (name) => `--${name}`)}`);
    } else if (value === undefined) problems.push(`${token.rawName} needs a value.`);
    else if (option === undefined) configFile = value;
    else given.set(option, [...(given.get(option) ?? []), value]);
  }
  for (const [option, texts] of given) readInto(flags, option, texts, flagOf(option.name), cwd, problems);
  return { flags, configFile };
};

const readVariables = (env: Env, cwd: string, problems: string[]): Layer => {
  const layer: Layer = new Map();
  const byVariable = new Map(OPTIONS.map((option) => [variableOf(option.name), option]));
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith("LONGWICK_") || value === undefined || OTHER_VARIABLES.has(variable)) continue;
    if (TEST_VARIABLE.test(variable) || SERVICE_VARIABLE.test(variable) || SERVICE_ADDRESS.test(value)) continue;
    const option = byVariable.get(variable);
    if (option === undefined) problems.push(`Unknown variable ${variable}.${didYouMean(variable, [...byVariable.keys()], String)}`);
    else if (value !== "" || option.kind === "list") readInto(layer, option, [value], variable, cwd, problems);
  }
  return layer;
};

const readInto = (layer: Layer, option: Option, texts: readonly string[], source: string, base: string, problems: string[]): void => {
  try {
    layer.set(option.name, { value: absolute(option, readText(option, texts), base), source });
  } catch (error) {
    problems.push(`${source}: ${error instanceof Error ? error.message : String(error)}`);
  }
};

const readFile = (named: string | null, cwd: string, problems: string[]): Layer => {
  const layer: Layer = new Map();
  const file = resolve(cwd, expandHome(named ?? CONFIG_FILE));
  if (named === null && !existsSync(file)) return layer;
  let content: Record<string, unknown>;
  try {
    content = parseToml(readFileSync(file, "utf8"));
  } catch (error) {
    problems.push(`${file}: ${error instanceof Error ? error.message : String(error)}`);
    return layer;
  }
  for (const [name, raw] of Object.entries(content)) {
    const option = byName.get(name);
    if (option === undefined) {
      problems.push(`${file}: unknown option ${name}.${didYouMean(name, KNOWN_NAMES, String)}`);
      continue;
    }
    try {
      layer.set(option.name, {
        value: absolute(option, readStructured(option, raw), dirname(file)),
        source: `${named ?? CONFIG_FILE}, ${name}`,
      });
    } catch (error) {
      problems.push(`${file}, ${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return layer;
};

const readFallbacks = (env: Env, cwd: string): Layer => {
  const layer: Layer = new Map();
  for (const option of OPTIONS) {
    const value = option.fallback === null ? undefined : env[option.fallback.variable];
    if (option.fallback === null || value === undefined || value === "") continue;
    layer.set(option.name, { value: resolve(cwd, value, option.fallback.under ?? ""), source: option.fallback.variable });
  }
  return layer;
};

const defaultOf = (option: Option): unknown => absolute(option, option.default, "/");

const absolute = (option: Option, value: unknown, base: string): unknown => {
  const one = (path: string): string => resolve(base, expandHome(path));
  if (option.kind === "presets")
    return mapPresets(value, (item, format) => (format === "path" && typeof item === "string" ? one(item) : item));
  if (typeof value !== "string" && !Array.isArray(value)) return value;
  if (option.kind === "path" || (option.kind === "command" && value.includes("/"))) return one(String(value));
  if (Array.isArray(value) && option.paths) return value.map((item) => one(String(item)));
  return value;
};

const expandHome = (path: string): string => (path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(2)) : path);

const didYouMean = (given: string, known: readonly string[], show: (name: string) => string): string => {
  const guess = nearest(given, known);
  return guess === null ? "" : ` Did you mean ${show(guess)}?`;
};
