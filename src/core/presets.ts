import type { Access, Caller } from "./access.ts";
import { Problem } from "./problems.ts";
import type { Conf, PresetLimits, SessionKind } from "./spec.ts";

/** A session's settings under a name: the operator's word, beneath what is asked for. */
export interface Preset {
  readonly name: string;
  readonly displayName: string;
  readonly description: string;
  /** Who may choose it; empty: everybody. */
  readonly users: readonly string[];
  /** Of sessions that ask for none; null leaves it to the server. */
  readonly kind: SessionKind | null;
  readonly idleTimeoutMs: number | null;
  readonly ttlMs: number | null;
  /** Sizes, image and pod templates included. */
  readonly conf: Conf;
  readonly limits: PresetLimits;
}

/** The presets there are, and who may choose which. */
export class Presets {
  readonly #presets: readonly Preset[];
  readonly #default: string | null;
  readonly #access: Access;

  /** `defaultName`: the one of sessions that name none; null leaves those without. */
  constructor(presets: readonly Preset[], defaultName: string | null, access: Access) {
    this.#presets = presets;
    this.#default = defaultName;
    this.#access = access;
  }

  /** Those the caller may choose. */
  list(caller: Caller): readonly Preset[] {
    return this.#presets.filter(({ users }) => this.#access.includes(users, caller));
  }

  isDefault({ name }: Preset): boolean {
    return name === this.#default;
  }

  /**
   * The preset of a session that asks for this one, or for none (null); null when it has none.
   * @throws Problem SPEC_REFUSED that names those there are, FORBIDDEN
   */
  choose(name: string | null, caller: Caller): Preset | null {
    const chosen = name ?? this.#default;
    if (chosen === null) return null;
    const mine = this.list(caller);
    const preset = mine.find(({ name: candidate }) => candidate === chosen);
    if (preset !== undefined) return preset;
    const known = mine.length === 0 ? "there are none for you" : `there are ${mine.map((other) => other.name).join(", ")}`;
    if (this.#presets.some((other) => other.name === chosen))
      throw new Problem("FORBIDDEN", `User '${caller.name}' may not use preset '${chosen}': ${known}.`);
    throw new Problem("SPEC_REFUSED", `Rejected, Reason: Unknown preset '${chosen}': ${known}`);
  }
}
