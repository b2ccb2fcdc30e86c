import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { processesNaming } from "./processes.ts";
import { labPython } from "./python.ts";
import { until } from "./until.ts";

const TOKEN = "lab";
const READY_MS = 60_000;
const GONE_MS = 30_000;
/** Settings of JupyterLab that would reach out of the machine, or ask something of a first visitor. */
const SETTINGS = {
  "@jupyterlab/apputils-extension:notification": { checkForUpdates: false, fetchNews: "false", doNotDisturbMode: true },
  "@jupyterlab/docmanager-extension:plugin": { renameUntitledFileOnSave: false },
};

export interface LabOptions {
  /** Holds all that it writes; notebooks are in `notebooks`. */
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags?: readonly string[];
}

/** The real JupyterLab in a process of its own, on a port of its own. */
export class Lab implements AsyncDisposable {
  readonly url: string;
  readonly directory: string;
  readonly #child: ChildProcess;

  private constructor(url: string, directory: string, child: ChildProcess) {
    this.url = url;
    this.directory = directory;
    this.#child = child;
  }

  /** Starts it and waits until it answers. */
  static async start({ directory, env, flags = [] }: LabOptions): Promise<Lab> {
    const [config, runtime, notebooks] = ["jupyter-config", "jupyter-runtime", "notebooks"].map((name) => join(directory, name)) as [
      ...[string, string, string],
    ];
    mkdirSync(notebooks, { recursive: true });
    mkdirSync(join(config, "labconfig"), { recursive: true });
    writeFileSync(join(config, "labconfig/default_setting_overrides.json"), JSON.stringify(SETTINGS));
    const server = [
      "--ServerApp.port=0",
      "--ServerApp.open_browser=False",
      "--LabApp.expose_app_in_browser=True",
      `--ServerApp.root_dir=${notebooks}`,
    ];
    const args = ["-m", "jupyterlab", "--allow-root", `--IdentityProvider.token=${TOKEN}`, ...server, ...flags];
    const child = spawn(await labPython(), args, {
      env: { ...env, JUPYTER_CONFIG_DIR: config, JUPYTER_RUNTIME_DIR: runtime, IPYTHONDIR: join(directory, "ipython") },
      cwd: directory,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let written = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      written += text;
    });
    try {
      const url = await until("JupyterLab says where it listens", READY_MS, () => {
        if (child.exitCode !== null) throw new Error(`JupyterLab ended with ${child.exitCode}`);
        return addressIn(runtime);
      });
      await until("JupyterLab answers", READY_MS, async () => ((await answers(url)) ? true : undefined));
      return new Lab(url, directory, child);
    } catch (cause) {
      child.kill("SIGKILL");
      throw new Error(`JupyterLab did not start:\n${written}`, { cause });
    }
  }

  /** Of its page, with what lets one in. */
  get address(): string {
    return `${this.url}lab?token=${TOKEN}`;
  }

  /** Shuts its kernels down and ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill("SIGTERM");
      const gone = once(this.#child, "exit", { signal: AbortSignal.timeout(GONE_MS) });
      await gone.catch(() => this.#child.kill("SIGKILL"));
    }
    for (const { pid, command } of processesNaming(this.directory)) if (command.includes("ipykernel")) process.kill(pid, "SIGKILL");
  }
}

/** What the server writes down of itself once it listens. */
const addressIn = (runtime: string): string | undefined => {
  try {
    const [name] = readdirSync(runtime).filter((each) => /^jpserver-\d+\.json$/.test(each));
    if (name === undefined) return undefined;
    const { port, base_url: path } = JSON.parse(readFileSync(join(runtime, name), "utf8"));
    return `http://127.0.0.1:${port}${path}`;
  } catch {
    // Not there, or half written.
    return undefined;
  }
};

const answers = async (url: string): Promise<boolean> => {
  const signal = AbortSignal.timeout(10_000);
  return fetch(`${url}api?token=${TOKEN}`, { signal }).then(
    ({ ok }) => ok,
    () => false,
  );
};
