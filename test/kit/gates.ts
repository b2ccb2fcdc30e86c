import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "./until.ts";

/**
 * Where code in a driver on this machine stops and goes on as a test says, in place of sleeping. The files of a directory are the signs:
 * `arrive(name)` in Python is met by `arrival(name)` here, `wait(name)` by `open(name)`.
 */
export class Gates {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  /** Python that defines `arrive` and `wait`. */
  get python(): string {
    return [
      "import os, time",
      `def sign(name): return os.path.join(${JSON.stringify(this.#directory)}, name)`,
      "def arrive(name): open(sign(name), 'w').close()",
      "def wait(name):",
      "    while not os.path.exists(sign(name)): time.sleep(0.02)",
    ].join("\n");
  }

  open(...names: readonly string[]): void {
    for (const name of names) writeFileSync(join(this.#directory, name), "");
  }

  arrival(name: string, deadlineMs = 30_000): Promise<true> {
    return until(`the code has come to ${name}`, deadlineMs, () => (existsSync(join(this.#directory, name)) ? true : undefined));
  }
}
