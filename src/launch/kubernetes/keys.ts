import { createHash, hkdfSync } from "node:crypto";
import { certificatePin, type DriverCertificate, driverCertificate } from "./certificate.ts";

export const KEY_BYTES = 32;

/** What is to be said of a session whose key was taken out while it lived. */
export const UNKNOWN_KEY =
  "the master key that the session was made with is not known here any more; it can be put back beside the current one";

/** What two ends of a link share. */
export interface SessionKeys {
  readonly link: Uint8Array;
  /** No driver knows it: see Workload. */
  readonly seal: Uint8Array;
  /** SHA-256 of the public key that the driver's certificate shows. */
  readonly pin: string;
}

/**
 * Master keys: the first makes new sessions' keys, all are accepted, so that one can be rotated out while its sessions live. A claim
 * carries the id of its key.
 */
export class MasterKeys {
  readonly #keys: ReadonlyMap<string, Uint8Array>;
  readonly current: string;

  constructor(keys: readonly Uint8Array[]) {
    const [first] = keys;
    if (first === undefined) throw new Error("there is no master key");
    this.#keys = new Map(keys.map((key) => [keyId(key), key]));
    this.current = keyId(first);
  }

  /** Whether sessions made with this key can be spoken to. */
  knows(id: string): boolean {
    return this.#keys.has(id);
  }

  session(id: string, uid: string): SessionKeys {
    const master = this.#master(id);
    const derived = (purpose: string) => new Uint8Array(hkdfSync("sha256", master, uid, purpose, KEY_BYTES));
    return { link: derived("longwick link key"), seal: derived("longwick seal"), pin: certificatePin(master, uid) };
  }

  certificate(id: string, uid: string): DriverCertificate {
    return driverCertificate(this.#master(id), uid);
  }

  #master(id: string): Uint8Array {
    const master = this.#keys.get(id);
    if (master === undefined) throw new Error(UNKNOWN_KEY);
    return master;
  }
}

/** Tells keys apart without telling them. */
const keyId = (key: Uint8Array): string => createHash("sha256").update("longwick master key").update(key).digest("hex").slice(0, 16);
