import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { driverPython } from "./python.ts";
import { until } from "./until.ts";

const HOME = "import os, pyspark; print(os.path.dirname(pyspark.__file__))";
const READY_MS = 90_000;

/** Spark's own history server, of the Spark that the tests' drivers have, in a process of its own. */
export class HistoryServer implements AsyncDisposable {
  readonly url: string;
  /** Where it looks for event logs. */
  readonly directory: string;
  readonly #process: ChildProcess;

  private constructor(url: string, directory: string, process: ChildProcess) {
    this.url = url;
    this.directory = directory;
    this.#process = process;
  }

  static async start(): Promise<HistoryServer> {
    const directory = await mkdtemp(join(tmpdir(), "lw-history-"));
    const python = await driverPython();
    const home = (await promisify(execFile)(python, ["-c", HOME])).stdout.trim();
    const options = {
      "spark.history.fs.logDirectory": `file://${directory}`,
      "spark.history.ui.port": "0",
      "spark.history.fs.update.interval": "1s",
    };
    const java = Object.entries(options).map(([key, value]) => `-D${key}=${value}`);
    const child = spawn(join(home, "bin/spark-class"), ["org.apache.spark.deploy.history.HistoryServer"], {
      env: { ...process.env, SPARK_HOME: home, SPARK_LOCAL_IP: "127.0.0.1", SPARK_HISTORY_OPTS: java.join(" ") },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let written = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (written += text));
    const port = await until("the history server says where it listens", READY_MS, () => {
      if (child.exitCode !== null) throw new Error(`the history server ended:\n${written}`);
      return /Bound HistoryServer to .*:(\d+)/.exec(written)?.[1];
    });
    return new HistoryServer(`http://127.0.0.1:${port}`, directory, child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null) {
      this.#process.kill("SIGKILL");
      await once(this.#process, "exit");
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}
