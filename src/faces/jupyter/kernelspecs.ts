import { readFile } from "node:fs/promises";
import { Problem } from "../../core/problems.ts";
import { type Content, MESSAGING_VERSION } from "./messages.ts";

/** A way to start a kernel, as clients choose among them. */
export interface Kernelspec {
  readonly name: string;
  readonly displayName: string;
  /** What its sessions ask for: the fields of a `POST /sessions` body. */
  readonly session: Content;
}

/** The one there is when nobody has written others. */
export const DEFAULT_KERNELSPEC: Kernelspec = { name: "spark", displayName: "Spark (PySpark)", session: {} };

const LOGOS: Readonly<Record<string, string>> = {
  "logo-svg.svg": "image/svg+xml",
  "logo-64x64.png": "image/png",
  "logo-32x32.png": "image/png",
};

/** The kernelspecs of this server; the first is the default. */
export class Kernelspecs {
  readonly #list: readonly Kernelspec[];

  constructor(list: readonly Kernelspec[]) {
    this.#list = list.length > 0 ? list : [DEFAULT_KERNELSPEC];
  }

  get all(): readonly Kernelspec[] {
    return this.#list;
  }
  get default(): string {
    return this.#list[0]?.name ?? DEFAULT_KERNELSPEC.name;
  }

  /** @throws Problem NOT_FOUND */
  find(name: string): Kernelspec {
    const found = this.#list.find((spec) => spec.name === name);
    if (found !== undefined) return found;
    const names = this.#list.map((spec) => spec.name).join(", ");
    throw new Problem("NOT_FOUND", `There is no kernelspec '${name.slice(0, 100)}' here, only ${names}.`);
  }
}

/** As Jupyter Server shows a kernelspec. `mount`: what stands before this server's paths. */
export const kernelspecModel = ({ name, displayName }: Kernelspec, mount: string): Content => ({
  name,
  spec: {
    // Nothing is started where the client is; the field must be there.
    argv: [],
    env: {},
    display_name: displayName,
    language: "python",
    interrupt_mode: "message",
    kernel_protocol_version: MESSAGING_VERSION,
    metadata: {},
  },
  resources: Object.fromEntries(
    Object.keys(LOGOS).map((file) => [file.replace(/\.\w+$/, ""), `${mount}/kernelspecs/${encodeURIComponent(name)}/${file}`]),
  ),
});

/**
 * A kernelspec's picture, and its MIME type.
 * @throws Problem NOT_FOUND
 */
export const readLogo = async (file: string): Promise<{ type: string; content: Buffer }> => {
  const type = Object.hasOwn(LOGOS, file) ? LOGOS[file] : undefined;
  if (type === undefined) throw new Problem("NOT_FOUND", `A kernelspec has no file '${file.slice(0, 100)}'.`);
  return { type, content: await readFile(new URL(`../../../kernelspec/${file}`, import.meta.url)) };
};
