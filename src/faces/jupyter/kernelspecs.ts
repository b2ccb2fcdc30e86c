import { readFile } from "node:fs/promises";
import type { Caller } from "../../core/access.ts";
import type { Presets } from "../../core/presets.ts";
import { Problem } from "../../core/problems.ts";
import { type Content, MESSAGING_VERSION } from "./messages.ts";

/** A way to start a kernel, as clients choose among them. */
export interface Kernelspec {
  readonly name: string;
  readonly displayName: string;
  /** What its sessions ask for: fields of a `POST /sessions` body. */
  readonly session: Content;
}

/** The one that is always there: what a session has that asks for nothing. */
const PLAIN: Kernelspec = { name: "spark", displayName: "Spark (PySpark)", session: {} };

/** What the kernelspec of a preset is called. */
export const kernelspecOf = (preset: string): string => `${PLAIN.name}-${preset}`;

const LOGOS: Readonly<Record<string, string>> = {
  "logo-svg.svg": "image/svg+xml",
  "logo-64x64.png": "image/png",
  "logo-32x32.png": "image/png",
};

/** A plain kernelspec, and one for each preset that the caller may choose. */
export class Kernelspecs {
  readonly #presets: Presets;
  readonly default = PLAIN.name;

  constructor(presets: Presets) {
    this.#presets = presets;
  }

  list(caller: Caller): readonly Kernelspec[] {
    const ofPresets = this.#presets.list(caller).map(({ name, displayName }) => ({
      ...{ name: kernelspecOf(name), displayName: `Spark (PySpark): ${displayName}` },
      session: { preset: name },
    }));
    return [PLAIN, ...ofPresets];
  }

  /** @throws Problem NOT_FOUND */
  find(name: string, caller: Caller): Kernelspec {
    const all = this.list(caller);
    const found = all.find((spec) => spec.name === name);
    if (found !== undefined) return found;
    throw new Problem("NOT_FOUND", `There is no kernelspec '${name.slice(0, 100)}' here, only ${all.map((spec) => spec.name).join(", ")}.`);
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
