import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Static, TSchema } from "typebox";
import { Check } from "typebox/value";
import { encodeFrame, type FrameChannel, WireError, type WireFrame } from "../protocol/codec.ts";
import { Challenge, Hello, PROTOCOL_VERSIONS, type Prove, proofText, Refused } from "../protocol/frames.ts";

/** The two ends cannot come together. `version` is final; `proof` may be a stranger at the driver's old address. */
export class HandshakeRefused extends Error {
  override readonly name = "HandshakeRefused";
  readonly code: "version" | "proof";

  constructor(code: "version" | "proof", message: string) {
    super(message);
    this.code = code;
  }
}

export interface HandshakeFacts {
  /** The claim's uid. */
  readonly session: string;
  readonly key: Uint8Array;
}

const NONCE_BYTES = 32;

/**
 * challenge → prove → hello: each end proves that it knows the session's key (docs/protocol.md). Afterwards the channel does not
 * read until it is given a receiver.
 * @throws HandshakeRefused, WireError, or the signal's reason; the caller closes the channel.
 */
export const handshake = async (channel: FrameChannel, facts: HandshakeFacts, signal: AbortSignal): Promise<Hello> => {
  const challenge = await nextFrame(channel, signal);
  if (!is(Challenge, challenge)) throw new WireError("the driver's first frame is not a challenge");
  if (Buffer.from(challenge.nonce, "base64url").length !== NONCE_BYTES) throw new WireError("the driver's nonce is not 32 bytes long");

  const version = PROTOCOL_VERSIONS.findLast((ours) => challenge.versions.includes(ours)) ?? 0;
  const nonce = randomBytes(NONCE_BYTES).toString("base64url");
  const bound = { versions: challenge.versions, version, session: facts.session, driverNonce: challenge.nonce, serverNonce: nonce };
  const prove: Prove = { frame: "prove", version, session: facts.session, nonce, proof: proof(facts.key, proofText("server", bound)) };
  channel.send(encodeFrame(prove), "control");
  // Said here and not left to the driver's `refused`: an older one may know other words for it.
  if (version === 0) {
    const [theirs, ours] = [challenge.versions, PROTOCOL_VERSIONS].map((versions) => versions.join(", "));
    throw new HandshakeRefused("version", `the driver speaks protocol version ${theirs}, this server ${ours}`);
  }

  const answer = await nextFrame(channel, signal);
  if (is(Refused, answer)) throw new HandshakeRefused(answer.code, `the driver refused the link: ${answer.message}`);
  if (!is(Hello, answer)) throw new WireError("the driver answered the proof with something else than hello");
  if (answer.session !== facts.session || !sameText(answer.proof, proof(facts.key, proofText("driver", bound))))
    throw new HandshakeRefused("proof", "who answered at the driver's address does not know the session's key");
  if (answer.version !== version) throw new WireError("the driver's hello names another version");
  channel.trust();
  return answer;
};

const proof = (key: Uint8Array, text: string): string => createHmac("sha256", key).update(text).digest("base64url");

const sameText = (a: string, b: string): boolean => {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
};

export const is = <Schema extends TSchema>(schema: Schema, frame: unknown): frame is Static<Schema> => Check(schema, frame);

/** One frame, alone in its read: in the handshake nobody speaks before he was answered. */
export const nextFrame = (channel: FrameChannel, signal: AbortSignal): Promise<WireFrame> =>
  new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      signal.removeEventListener("abort", abort);
      channel.receive(null);
      settle();
    };
    const abort = () => done(() => reject(signal.reason));
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    channel.receive({
      frames: ([frame, ...more]) => {
        if (frame === undefined) return;
        done(() => (more.length === 0 ? resolve(frame) : reject(new WireError("frames out of turn in the handshake"))));
      },
      ended: (error) => done(() => reject(error ?? new WireError("the driver closed the connection in the handshake"))),
    });
  });
