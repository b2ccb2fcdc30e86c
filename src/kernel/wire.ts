import { createHmac, timingSafeEqual } from "node:crypto";

/**
 * Frames of Jupyter's messages over ZeroMQ: identities, a delimiter, the signature, then header, parent header, metadata, content and
 * buffers (Jupyter messaging protocol 5.5, "The Wire Protocol").
 */

/** Header, parent header, metadata, content, buffers: the bytes that every carrier of Jupyter messages passes on as they are. */
export type Parts = readonly Buffer[];
/** As many parts every message has; what follows are buffers. */
export const PARTS = 4;

export interface Incoming {
  /** Who sent it; an answer begins with the same frames. */
  readonly identities: readonly Buffer[];
  readonly parts: Parts;
}

export type Refusal = "no delimiter" | "too few frames" | "wrong signature" | "signature seen before";

const DELIMITER = Buffer.from("<IDS|MSG>");
/** As many signatures are remembered at least (as many as jupyter_client's Session does); as many more make the older half be forgotten. */
const REMEMBERED = 65_536;

/** Signs what goes out and checks what comes in. */
export class Wire {
  readonly #key: string;
  readonly #hash: string;
  #seen = new Set<string>();
  #seenBefore = new Set<string>();

  /** @param key empty: nothing is signed and nothing is checked */
  constructor(key: string, hash = "sha256") {
    this.#key = key;
    this.#hash = hash;
  }

  encode(identities: readonly Buffer[], parts: Parts): Buffer[] {
    return [...identities, DELIMITER, this.#sign(parts), ...parts];
  }

  decode(frames: readonly Buffer[]): Incoming | Refusal {
    const at = frames.findIndex((frame) => frame.equals(DELIMITER));
    if (at < 0) return "no delimiter";
    const signature = frames[at + 1];
    const parts = frames.slice(at + 2);
    if (signature === undefined || parts.length < PARTS) return "too few frames";
    if (this.#key !== "") {
      const right = this.#sign(parts);
      if (signature.length !== right.length || !timingSafeEqual(signature, right)) return "wrong signature";
      if (!this.#isNew(signature.toString("latin1"))) return "signature seen before";
    }
    return { identities: frames.slice(0, at), parts };
  }

  #sign(parts: Parts): Buffer {
    if (this.#key === "") return Buffer.alloc(0);
    const hmac = createHmac(this.#hash, this.#key);
    for (const part of parts.slice(0, PARTS)) hmac.update(part);
    return Buffer.from(hmac.digest("hex"), "latin1");
  }

  #isNew(signature: string): boolean {
    if (this.#seen.has(signature) || this.#seenBefore.has(signature)) return false;
    this.#seen.add(signature);
    if (this.#seen.size >= REMEMBERED) {
      this.#seenBefore = this.#seen;
      this.#seen = new Set();
    }
    return true;
  }
}
