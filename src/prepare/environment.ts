import { spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, realpath, rename, rm, symlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import type { Python } from "./python.ts";

/** Called with each line of progress. */
export type Progress = (line: string) => void;

/** A Python environment of ours: a venv made once from a Python, with what `pip install` is given. */
export interface EnvironmentSpec {
  /** First part of the directory's name. */
  readonly name: string;
  readonly python: Python;
  /** Arguments of `pip install`. */
  readonly install: readonly string[];
  /** What makes it another environment than one of the same name; the arguments when absent (better a requirements file's content than its path). */
  readonly content?: string;
}

const interpreterIn = (directory: string): string => join(directory, "bin/python");

const directoryName = ({ name, python, install, content }: EnvironmentSpec): string => {
  const hash = createHash("sha256")
    .update(JSON.stringify([python.path, python.version, content ?? install]))
    .digest("hex");
  return `${name}-py3.${python.minor}-${hash.slice(0, 12)}`;
};

/** The environment's interpreter when it was made before, else null. */
export const findEnvironment = (directory: string, spec: EnvironmentSpec): string | null => {
  const interpreter = interpreterIn(join(directory, directoryName(spec)));
  return existsSync(interpreter) ? interpreter : null;
};

/**
 * The environment's interpreter; the environment is made when it is not there. Made aside and published by one link, so nobody ever meets
 * half of one and two who make it at once do not disturb each other.
 * @throws PrepareError when Python or pip fail, with the last they wrote
 */
export const makeEnvironment = async (
  directory: string,
  spec: EnvironmentSpec,
  progress: Progress,
  signal: AbortSignal,
): Promise<string> => {
  const found = findEnvironment(directory, spec);
  if (found !== null) return found;
  const { python, install } = spec;
  if (!python.venv) throw new PrepareError(`${python.path} cannot make virtual environments. ${INSTALL_VENV}`);
  await mkdir(directory, { recursive: true });
  await removeAbandoned(directory);
  const name = directoryName(spec);
  const making = join(directory, `${name}.${process.pid}-${randomUUID().slice(0, 8)}`);
  try {
    await follow(python.path, ["-m", "venv", making], progress, signal);
    const pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", ...install];
    await follow(interpreterIn(making), pip, progress, signal);
    await publish(making, join(directory, name));
  } catch (error) {
    await rm(making, { recursive: true, force: true });
    throw error;
  }
  return interpreterIn(join(directory, name));
};

const INSTALL_VENV = "Install its venv module (Debian, Ubuntu: apt-get install python3-venv).";

/** Preparing failed; the message says why and what may help. */
export class PrepareError extends Error {
  override readonly name = "PrepareError";
}

/** Gives the environment its name, unless another process has made the same one meanwhile. */
const publish = async (made: string, path: string): Promise<void> => {
  if (existsSync(interpreterIn(path))) return rm(made, { recursive: true, force: true });
  // What may be there was made from a Python that has gone from the machine since.
  const old = await realpath(path).catch(() => null);
  const link = `${made}.link`;
  await symlink(basename(made), link);
  await rename(link, path);
  if (old !== null) await rm(old, { recursive: true, force: true });
};

/** Removes what processes left that were killed while they made an environment. */
const removeAbandoned = async (directory: string): Promise<void> => {
  const published = new Set<string>();
  const names = await readdir(directory);
  for (const name of names) {
    if (/\.\d+-[0-9a-f]{8}$/.test(name)) continue;
    published.add(await realpath(join(directory, name)).catch(() => ""));
  }
  for (const name of names) {
    const maker = /\.(\d+)-[0-9a-f]{8}(\.link)?$/.exec(name)?.[1];
    if (maker === undefined || published.has(await realpath(join(directory, name)).catch(() => "")) || isAlive(Number(maker))) continue;
    await rm(join(directory, name), { recursive: true, force: true });
  }
};

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
};

/** What of pip's lines a person wants to see: what takes its time, and what goes wrong. */
const WORTH_SEEING = /^(Downloading .*\b[MG]B\)|Building|Installing collected|ERROR|WARNING: Retrying)/;
const SILENCE_MS = 10_000;
const TAIL_LINES = 20;

/** Runs a program to its end, telling what it says and, when it says nothing for long, that it goes on. Rejects unless it ends well. */
const follow = async (command: string, args: readonly string[], progress: Progress, signal: AbortSignal): Promise<void> => {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], signal });
  const startedMs = performance.now();
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  ended.catch(() => undefined);
  const written = new PassThrough();
  for (const stream of [child.stdout, child.stderr]) stream.pipe(written, { end: false });
  ended.finally(() => written.end()).catch(() => undefined);
  const tail: string[] = [];
  let last = "starting";
  const timer = setInterval(() => progress(`  … ${last} (${Math.round((performance.now() - startedMs) / 1_000)} s)`), SILENCE_MS);
  for await (const line of createInterface({ input: written })) {
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    if (!WORTH_SEEING.test(line.trim())) continue;
    last = line
      .trim()
      .replace(/^(Installing collected packages).*/, "$1")
      .replace(/-[^ ]*\.(whl|tar\.gz)\b/, "")
      .slice(0, 100);
    timer.refresh();
    progress(`  ${last}`);
  }
  clearInterval(timer);
  const code = await ended;
  if (code !== 0)
    throw new PrepareError(`${command} ${args.slice(0, 3).join(" ")} ended with ${code}:\n${tail.map((line) => `  ${line}`).join("\n")}`);
};
