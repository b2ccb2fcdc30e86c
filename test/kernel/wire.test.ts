import { describe, expect, test } from "vitest";
import { type Parts, Wire } from "../../src/kernel/wire.ts";
import { seeded } from "../kit/random.ts";

const bytes = (...texts: readonly string[]): Buffer[] => texts.map((text) => Buffer.from(text));
const MESSAGE: Parts = bytes('{"msg_id":"1","msg_type":"execute_request"}', "{}", "{}", '{"code":"1"}');

describe("the signature", () => {
  test.for([
    // RFC 4231, test case 2, cut into the four parts that are signed.
    ["sha256", "Jefe", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"],
    [
      "sha512",
      "Jefe",
      "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    ],
  ] as const)("with %s is HMAC's over the parts as they are", ([hash, key, signature]) => {
    const frames = new Wire(key, hash).encode([], bytes("what do ", "ya want ", "for ", "nothing?", "a buffer, unsigned"));
    expect(frames.map(String)).toEqual(["<IDS|MSG>", signature, "what do ", "ya want ", "for ", "nothing?", "a buffer, unsigned"]);
  });

  test("is an empty frame without a key, and not looked at", () => {
    const wire = new Wire("");
    expect(wire.encode([], MESSAGE)[1]).toEqual(Buffer.alloc(0));
    expect(wire.decode([...bytes("client", "<IDS|MSG>", "whatever"), ...MESSAGE])).toEqual({ identities: bytes("client"), parts: MESSAGE });
  });
});

describe("what comes in", () => {
  const key = "0f0e6f33-7a3e1c2d";

  test("is whom it came from and what they sent, buffers included", () => {
    const parts = [...MESSAGE, ...bytes("\0\x01<IDS|MSG>", "")];
    expect(new Wire(key).decode(new Wire(key).encode(bytes("proxy", "client"), parts))).toEqual({
      identities: bytes("proxy", "client"),
      parts,
    });
  });

  test("is refused with another key's signature, a changed part and a cut signature", () => {
    const wire = new Wire(key);
    expect(wire.decode(new Wire("another").encode([], MESSAGE))).toBe("wrong signature");
    const changed = new Wire(key).encode([], MESSAGE);
    changed[5] = Buffer.from('{"code":"2"}');
    expect(wire.decode(changed)).toBe("wrong signature");
    const cut = new Wire(key).encode([], MESSAGE);
    cut[1] = cut[1]?.subarray(0, 63) ?? Buffer.alloc(0);
    expect(wire.decode(cut)).toBe("wrong signature");
    expect(wire.decode([...bytes("<IDS|MSG>", ""), ...MESSAGE])).toBe("wrong signature");
  });

  test("is taken once: a second time it is somebody who listened", () => {
    const wire = new Wire(key);
    const frames = new Wire(key).encode(bytes("client"), MESSAGE);
    expect(wire.decode(frames)).toMatchObject({ parts: MESSAGE });
    expect(wire.decode(frames)).toBe("signature seen before");
  });

  test("is remembered within bounds, the newest longest", () => {
    const wire = new Wire(key);
    const numbered = (number: number) => new Wire(key).encode([], [...MESSAGE.slice(0, 3), Buffer.from(String(number))]);
    for (let number = 0; number < 140_000; number += 1) expect(typeof wire.decode(numbered(number))).toBe("object");
    expect(wire.decode(numbered(139_999))).toBe("signature seen before");
    expect(wire.decode(numbered(139_999 - 65_536))).toBe("signature seen before");
  });

  test.for([
    ["nothing", [], "no delimiter"],
    ["no delimiter", bytes("a", "b", "c", "d", "e", "f"), "no delimiter"],
    ["only the delimiter", bytes("client", "<IDS|MSG>"), "too few frames"],
    ["three parts", bytes("<IDS|MSG>", "ab", "{}", "{}", "{}"), "too few frames"],
  ] as const)("is refused when it is %s", ([, frames, refusal]) => {
    expect(new Wire(key).decode(frames)).toBe(refusal);
  });

  test("never throws, whatever is cut away or changed", () => {
    const random = seeded(5);
    const wire = new Wire(key);
    for (let round = 0; round < 2_000; round += 1) {
      const frames = new Wire(key).encode(bytes("client"), [...MESSAGE.slice(0, 3), Buffer.from(`{"round":${round}}`)]);
      const at = random.below(frames.length);
      const frame = frames[at] ?? Buffer.alloc(0);
      if (random.below(2) === 0) frames.splice(at, 1 + random.below(3));
      else frames[at] = frame.subarray(0, random.below(frame.length));
      const taken = wire.decode(frames);
      // What is not signed, the identity, may change; all else may not.
      if (typeof taken !== "string") expect(taken.parts.length).toBe(4);
    }
  });
});
