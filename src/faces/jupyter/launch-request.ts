import { type Static, Type } from "typebox";
import { Problem } from "../../core/problems.ts";
import { type Content, isContent } from "./messages.ts";

/** `POST /api/kernels`; a body is not needed. Unknown fields are let pass, as Jupyter Server does. */
export const StartKernel = Type.Union([
  Type.Object({
    name: Type.Optional(Type.Union([Type.String(), Type.Null()])),
    path: Type.Optional(Type.Union([Type.String(), Type.Null()])),
    env: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    longwick: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), {
        description: "Fields of a POST /sessions; or `session`, the name or id of one to attach to.",
      }),
    ),
  }),
  Type.Null(),
  Type.Undefined(),
]);
export type StartKernel = Static<typeof StartKernel>;

/** What a client wants of a new kernel, read from its body and its KERNEL_* variables. */
export interface LaunchWish {
  /** Kernelspec; null: the default. */
  readonly name: string | null;
  readonly path: string | null;
  /** Where the notebook is, as the client's machine has it; null: it does not say. */
  readonly directory: string | null;
  /** Name or id of the session to attach to; null: a new one. */
  readonly session: string | null;
  /** Shutting the kernel down leaves its session. */
  readonly keep: boolean;
  /** Fields of a POST /sessions. */
  readonly asked: Content;
  readonly notes: readonly string[];
}

type Read = (value: string) => Content;
const number =
  (field: string): Read =>
  (value) => {
    if (!/^\d{1,9}$/.test(value)) throw new Problem("INVALID", `${field}: '${value.slice(0, 50)}' is no whole number.`);
    return { [field]: Number(value) };
  };
const text =
  (field: string): Read =>
  (value) => ({ [field]: value });

/** The variables that ask for something here. Whatever else a notebook server sends along is named in the session's log, without its value. */
const VARIABLES: Readonly<Record<string, Read>> = {
  KERNEL_DRIVER_MEMORY: text("driverMemory"),
  KERNEL_DRIVER_CORES: number("driverCores"),
  KERNEL_EXECUTOR_MEMORY: text("executorMemory"),
  KERNEL_EXECUTOR_CORES: number("executorCores"),
  KERNEL_NUM_EXECUTORS: number("numExecutors"),
  KERNEL_QUEUE: text("queue"),
  KERNEL_SESSION_NAME: text("name"),
  KERNEL_SPARK_CONF: (value) => ({ conf: confOf(value) }),
  KERNEL_SESSION: text("session"),
  KERNEL_WORKING_DIR: text("directory"),
  KERNEL_KEEP_ALIVE: (value) => ({ keep: /^(1|true|yes|on)$/i.test(value) }),
};
/** What every notebook server sends, and what means nothing here: a kernel is there at once. */
const EXPECTED = new Set(["KERNEL_USERNAME", "KERNEL_LAUNCH_TIMEOUT", "KERNEL_GATEWAY", "KERNEL_ID"]);

/** @throws Problem INVALID */
export const readLaunchWish = (body: StartKernel): LaunchWish => {
  const { name = null, path = null, env = {}, longwick = {} } = body ?? {};
  const notes: string[] = [];
  let asked: Content = {};
  for (const [variable, value] of Object.entries(env)) {
    const read = Object.hasOwn(VARIABLES, variable) ? VARIABLES[variable] : undefined;
    if (read !== undefined && typeof value === "string" && value !== "") asked = { ...asked, ...read(value) };
    else if (read === undefined && variable.startsWith("KERNEL_") && !EXPECTED.has(variable))
      notes.push(`The variable ${variable.slice(0, 100).replaceAll(/\W/g, "_")} of the kernel's start is ignored.`);
  }
  const { directory = null, ...told } = asked;
  const { session = null, keep = false, ...fields } = { ...told, ...longwick };
  if (session !== null && typeof session !== "string" && typeof session !== "number")
    throw new Problem("INVALID", "longwick.session must be the name or the id of a session.");
  return {
    ...{ name: name || null, path, directory: typeof directory === "string" ? directory : null },
    ...{ session: session === null ? null : String(session), keep: keep === true, asked: fields, notes },
  };
};

const confOf = (value: string): Content => {
  let conf: unknown;
  try {
    conf = JSON.parse(value);
  } catch (cause) {
    throw new Problem("INVALID", "KERNEL_SPARK_CONF is not JSON.", { cause });
  }
  if (!isContent(conf)) throw new Problem("INVALID", 'KERNEL_SPARK_CONF must be a JSON object: {"spark.sql.shuffle.partitions": "8"}.');
  return conf;
};
