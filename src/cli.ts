import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { type Config, ConfigError, clientVariables, loadConfig, SERVER_FLAGS } from "./config.ts";
import { nearest } from "./nearest.ts";
import { PrepareError } from "./prepare/environment.ts";
import type { Prepared } from "./prepare.ts";
import type { RunOptions } from "./run.ts";
import { version } from "./version.ts";

/** `longwick`: reads the command and calls it. What it needs is loaded by the command that needs it. */

/** `kernelspec` and `submit` have flags of their own; `kernel`, which Jupyter starts, does not come by here (bin/longwick.js). */
const COMMANDS = ["serve", "run", "submit", "doctor", "kernelspec"] as const;
type Command = (typeof COMMANDS)[number];

/** Flags that belong to a command; all others are the server's. */
const OWN_FLAGS = {
  help: { type: "boolean", short: "h" },
  version: { type: "boolean", short: "V" },
  code: { type: "string", short: "c" },
  url: { type: "string" },
  token: { type: "string" },
  kind: { type: "string" },
} as const;
type OwnFlag = keyof typeof OWN_FLAGS;
const RUN_FLAGS: readonly OwnFlag[] = ["code", "url", "token", "kind"];

/** The command line cannot be understood. */
class UsageError extends Error {
  override readonly name = "UsageError";
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

interface Arguments {
  readonly command: Command;
  readonly operands: readonly string[];
  readonly own: ReadonlyMap<OwnFlag, string>;
  /** Flags of the server. */
  readonly rest: readonly string[];
}

const readArguments = (argv: readonly string[]): Arguments => {
  const options = { ...SERVER_FLAGS, ...OWN_FLAGS };
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, allowPositionals: true, tokens: true });
  const operands: string[] = [];
  const own = new Map<OwnFlag, string>();
  const rest: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") operands.push(token.value);
    if (token.kind !== "option") continue;
    if (Object.hasOwn(OWN_FLAGS, token.name)) {
      const name = token.name as OwnFlag; // one of OWN_FLAGS' names, as just seen
      if (OWN_FLAGS[name].type === "string" && token.value === undefined) throw new UsageError(`${token.rawName} needs a value.`);
      own.set(name, token.value ?? "");
    } else rest.push(token.value === undefined ? token.rawName : `${token.rawName}=${token.value}`);
  }
  const first = operands.shift() ?? "serve";
  const command = COMMANDS.find((name) => name === first);
  if (first === "help") return { command: "serve", operands, own: new Map([["help", ""]]), rest };
  if (command === undefined) {
    const guess = nearest(first, COMMANDS);
    throw new UsageError(`Unknown command ${first}.${guess === null ? "" : ` Did you mean ${guess}?`} Try --help.`);
  }
  return { command, operands, own, rest };
};

const main = async (argv: readonly string[]): Promise<number> => {
  if (argv[0] === "kernelspec" && !argv.some((word) => word === "--help" || word === "-h")) {
    const { kernelspec } = await import("./kernelspec.ts");
    return kernelspec(argv.slice(1), version(), (line) => void process.stdout.write(`${line}\n`), say);
  }
  if (argv[0] === "submit") return submit(argv.slice(1));
  const given = readArguments(argv);
  if (given.own.has("help")) {
    process.stdout.write((await import("./manual.ts")).helpText());
    return 0;
  }
  if (given.own.has("version")) {
    process.stdout.write(`${version()}\n`);
    return 0;
  }
  if (given.command === "submit") throw new UsageError("submit comes first: longwick submit [OPTION…] FILE [ARG…].");
  if (given.command === "run") return run(given);
  const stray = RUN_FLAGS.find((name) => given.own.has(name));
  if (stray !== undefined) throw new UsageError(`--${stray} belongs to longwick run.`);
  return given.command === "doctor" ? doctor(given) : serve(given);
};

/** Aborted by a first Ctrl-C or SIGTERM while `work` goes on (the second has its default effect), or when nobody reads the output any more. */
const interruptible = async <Result>(work: (signal: AbortSignal) => Promise<Result>): Promise<Result> => {
  const interrupted = new AbortController();
  const abort = () => interrupted.abort();
  process.once("SIGINT", abort).once("SIGTERM", abort);
  process.stdout.once("error", abort);
  try {
    return await work(interrupted.signal);
  } finally {
    process.off("SIGINT", abort).off("SIGTERM", abort);
    process.stdout.off("error", abort);
  }
};

/** What local drivers run on; pods bring their own. */
const prepareFor = async (config: Config, signal: AbortSignal): Promise<Prepared | null> => {
  if (config.launcher !== "local") return null;
  const { prepare } = await import("./prepare.ts");
  return prepare(config, say, signal);
};

const serve = async ({ rest, operands }: Arguments): Promise<number> => {
  const { config } = loadConfig([...rest, ...operands]);
  const [{ serve: serveUntilSignal }, { openLog }] = await Promise.all([import("./main.ts"), import("./observe/log.ts")]);
  const prepared = await interruptible((signal) => prepareFor(config, signal));
  await serveUntilSignal(config, prepared, version(), openLog(config.logLevel), say);
  return 0;
};

const doctor = async ({ rest, operands }: Arguments): Promise<number> => {
  const { configFinding, examine } = await import("./doctor.ts");
  const findings = await (async () => examine(loadConfig([...rest, ...operands])))().catch((error: unknown) => {
    if (error instanceof ConfigError) return [configFinding(error)];
    throw error;
  });
  for (const { state, what, mend } of findings) {
    process.stdout.write(`${{ ok: "ok  ", note: "note", bad: "BAD " }[state]}  ${what}\n`);
    if (mend !== undefined) process.stdout.write(`${mend.replaceAll(/^/gm, "      → ")}\n`);
  }
  return findings.some(({ state }) => state === "bad") ? 1 : 0;
};

const run = async ({ operands, own, rest }: Arguments): Promise<number> => {
  const variables = clientVariables();
  const { code, file } = await readCode(own.get("code"), operands);
  const kind = own.get("kind") ?? (file?.endsWith(".sql") ? "sql" : "pyspark");
  if (kind !== "pyspark" && kind !== "sql") throw new UsageError(`--kind: must be pyspark or sql, not ${kind}`);
  const [{ runStatement, withOwnServer }, { targetOf }] = await Promise.all([import("./run.ts"), import("./target.ts")]);
  const options: RunOptions = {
    ...{ code, kind },
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
  };
  const url = own.get("url") ?? variables.url;
  const { config } = loadConfig(rest);
  if (url !== null) return interruptible((signal) => runStatement(targetOf(url, own.get("token") ?? variables.token), options, signal));
  const { openLog } = await import("./observe/log.ts");
  const log = openLog(config.logLevel === "info" ? "warn" : config.logLevel, process.stderr);
  return interruptible(async (signal) => {
    const prepared = await prepareFor(config, signal);
    return withOwnServer(config, prepared, version(), log, (target) => runStatement(target, options, signal));
  });
};

const submit = async (argv: readonly string[]): Promise<number> => {
  const { readSubmission } = await import("./submission.ts");
  const submission = readSubmission(argv);
  if (submission === null) {
    process.stdout.write((await import("./manual.ts")).helpText());
    return 0;
  }
  const variables = clientVariables();
  const { config } = loadConfig(submission.rest);
  const url = submission.url ?? variables.url;
  if (url === null && !submission.wait) {
    throw new UsageError(
      "longwick submit needs a server, --url or LONGWICK_URL; without one it starts one for as long as it waits: --wait.",
    );
  }
  const [{ submitBatch }, { targetOf }] = await Promise.all([import("./submit.ts"), import("./target.ts")]);
  const streams = {
    out: (text: string) => void process.stdout.write(text),
    err: (text: string) => void process.stderr.write(text),
  };
  if (url !== null) {
    return interruptible((signal) => submitBatch(targetOf(url, submission.token ?? variables.token), submission, streams, signal));
  }
  const [{ openLog }, { withOwnServer }] = await Promise.all([import("./observe/log.ts"), import("./run.ts")]);
  const log = openLog(config.logLevel === "info" ? "warn" : config.logLevel, process.stderr);
  return interruptible(async (signal) => {
    const prepared = await prepareFor(config, signal);
    // It ends with its server.
    const own = { ...submission, kill: true };
    return withOwnServer(config, prepared, version(), log, (target) => submitBatch(target, own, streams, signal), ["/"]);
  });
};

const readCode = async (
  code: string | undefined,
  [file, ...more]: readonly string[],
): Promise<{ code: string; file: string | undefined }> => {
  if (more[0] !== undefined) throw new UsageError(`Unexpected argument: ${more[0]}`);
  if ((code === undefined) === (file === undefined)) throw new UsageError("longwick run takes a FILE, - for standard input, or -c CODE.");
  if (code !== undefined) return { code, file };
  if (file === "-") return { code: await text(process.stdin), file };
  try {
    return { code: readFileSync(file ?? "", "utf8"), file };
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
};

/** Errors whose message is all a person needs; their names, because their modules are loaded only when needed. */
const PLAIN_ERRORS: ReadonlySet<string> = new Set([
  "DirectoryInUse",
  "RunError",
  "UnreachableError",
  "TargetError",
  "KernelspecError",
  "AbortError",
  "Problem",
]);

/** What the Kubernetes API answers to a server that starts, or does not. */
const CLUSTER_ERRORS: ReadonlySet<string> = new Set(["ApiError", "NoAnswer"]);

const explain = (error: unknown): { code: number; message: string } => {
  if (error instanceof UsageError || error instanceof ConfigError || (error instanceof Error && /^\w+UsageError$/.test(error.name)))
    return { code: 2, message: error.message };
  if (!(error instanceof Error)) return { code: 1, message: String(error) };
  if (error instanceof PrepareError || PLAIN_ERRORS.has(error.name)) return { code: 1, message: error.message };
  if ("code" in error && error.code === "EADDRINUSE") {
    return { code: 1, message: `${error.message}: another program listens there. Choose another port with --port (0: any).` };
  }
  if (CLUSTER_ERRORS.has(error.name))
    return {
      code: 1,
      message: `${error.message}\n\`longwick doctor\`, with the same settings, says what is missing in the cluster and how to mend it.`,
    };
  return { code: 1, message: error.stack ?? error.message };
};

// A reader who leaves (`| head`, a closed terminal) is no reason to fall over; least of all for a server.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    const { code, message } = explain(error);
    process.stderr.write(`${message.replaceAll(/^/gm, "longwick: ")}\n`);
    process.exitCode = code;
  },
);
