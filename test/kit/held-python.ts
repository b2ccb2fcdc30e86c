import { cpSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { driverPython } from "./python.ts";

/** Runs in each Python before anything else: a driver's supervisor does not begin while this file is there. */
const hold = (sign: string): string =>
  `import os, time; exec("while b'\\\\0spark_shim\\\\0' in open('/proc/self/cmdline', 'rb').read() and os.path.exists(${JSON.stringify(sign).replaceAll('"', "'")}): time.sleep(0.02)")\n`;

/** The drivers' Python, but that drivers start when a test says so: what must not wait for them is seen not to, on machines of any speed. */
export class HeldPython implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "lw-held-"));
  /** Drivers wait while this file is there. */
  readonly sign = join(this.#directory, "hold");
  readonly path = join(this.#directory, "bin", "python");

  private constructor(environment: string) {
    const [library = ""] = readdirSync(join(environment, "lib"));
    const packages = join(this.#directory, "lib", library, "site-packages");
    mkdirSync(packages, { recursive: true });
    mkdirSync(dirname(this.path));
    symlinkSync(realpathSync(join(environment, "bin", "python")), this.path);
    cpSync(join(environment, "pyvenv.cfg"), join(this.#directory, "pyvenv.cfg"));
    writeFileSync(join(packages, "held.pth"), `${hold(this.sign)}${join(environment, "lib", library, "site-packages")}\n`);
  }

  static async make(): Promise<HeldPython> {
    return new HeldPython(dirname(dirname(await driverPython())));
  }

  hold(): void {
    writeFileSync(this.sign, "");
  }

  letGo(): void {
    rmSync(this.sign, { force: true });
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 5 });
  }
}
