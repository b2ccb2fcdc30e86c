import { type ChildProcess, spawn } from "node:child_process";
import { type Static, Type } from "typebox";
import { readWhole, writeWhole } from "./files.ts";
import { bootId, identify, isAlive, type ProcessIdentity, signalProcess } from "./processes.ts";

/** What a server writes down of a session's supervisor for the next one. */
const SupervisorFile = Type.Object({
  /** null: about to be started. */
  process: Type.Union([Type.Object({ pid: Type.Integer(), startTime: Type.String(), boot: Type.String() }), Type.Null()]),
  boot: Type.String(),
  /** When it was started again after a crash, Unix ms. */
  restartsMs: Type.Array(Type.Integer()),
});
export type SupervisorFile = Static<typeof SupervisorFile>;

/** null: none was ever started. A torn file tells nothing more: what runs is then found by its environment. */
export const readSupervisorFile = (path: string): Promise<SupervisorFile | null> =>
  readWhole(path, SupervisorFile).catch(() => ({ process: null, boot: bootId(), restartsMs: [] }));

export const writeSupervisorFile = (path: string, file: SupervisorFile): Promise<void> => writeWhole(path, JSON.stringify(file));

/** A supervisor's process: our own child, or one that an earlier server started. */
export interface Supervisor {
  readonly identity: ProcessIdentity;
  /** Resolves when it is gone. */
  readonly exited: Promise<void>;
  /** Something hints that it may be gone. */
  look(): void;
  /** It was told to go: look closely. */
  signal(signal: NodeJS.Signals): void;
  /** Stops watching; the process goes on. */
  release(): void;
}

export interface SupervisorCommand {
  readonly python: string;
  readonly arguments: readonly string[];
  readonly directory: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The open file that takes what it writes. */
  readonly outputFd: number;
}

/** What a Python must be given to be the supervisor that reads this file. */
export const supervisorArguments = (driverFile: string): readonly string[] => ["-m", "spark_shim", driverFile];

/** How often an adopted process is looked at; its socket's end tells sooner. */
const LOOK_MS = 1_000;
const CLOSE_LOOK_MS = 20;

/** Starts a supervisor that outlives us: in a session of its own, without our terminal. Rejects when it cannot be started. */
export const startSupervisor = async (command: SupervisorCommand): Promise<Supervisor> => {
  const child = spawn(command.python, command.arguments, {
    cwd: command.directory,
    env: command.environment,
    detached: true,
    stdio: ["ignore", command.outputFd, command.outputFd],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  child.unref();
  // A child that is already gone is a zombie for an instant: then its id is enough, nobody will look for it.
  const identity = identify(child.pid ?? 0) ?? { pid: child.pid ?? 0, startTime: "", boot: "" };
  return {
    identity,
    exited,
    look: () => undefined,
    signal: (signal) => void child.kill(signal),
    release: () => removeListeners(child),
  };
};

const removeListeners = (child: ChildProcess): void => {
  child.removeAllListeners("exit");
};

/** Watches a process that somebody else started: nobody tells us of its exit. */
export const adoptSupervisor = (identity: ProcessIdentity): Supervisor => {
  const { promise: exited, resolve } = Promise.withResolvers<void>();
  let timer: NodeJS.Timeout | undefined;
  const look = () => {
    if (isAlive(identity)) return;
    clearInterval(timer);
    resolve();
  };
  const every = (ms: number) => {
    clearInterval(timer);
    timer = setInterval(look, ms);
    look();
  };
  every(LOOK_MS);
  timer?.unref();
  return {
    identity,
    exited,
    look,
    signal: (signal) => {
      signalProcess(identity, signal);
      every(CLOSE_LOOK_MS);
    },
    release: () => clearInterval(timer),
  };
};
