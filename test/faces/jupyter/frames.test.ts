import { describe, expect, test } from "vitest";
import { decodeLegacy, decodeV1, encodeLegacy, encodeText, encodeV1, FrameError } from "../../../src/faces/jupyter/frames.ts";
import { type Message, message } from "../../../src/faces/jupyter/messages.ts";
import { writeV1 } from "../../kit/channels.ts";
import { type Random, seeded } from "../../kit/random.ts";

const HEADER = { msg_id: "m", msg_type: "execute_request", session: "s", username: "", version: "5.4", date: "" };
const part = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const v1 = (channel: string, header: unknown, content: unknown, ...buffers: Buffer[]): Buffer =>
  writeV1([Buffer.from(channel), part(header), part({}), part({}), part(content), ...buffers]);

const WORDS = ["", "a", "漢字", "😀", '"', "\\", "\n", "</script>", "\u2028", "x".repeat(1_000)];
const randomMessage = (random: Random): Message =>
  message({
    channel: random.pick(["shell", "control", "stdin"] as const),
    type: random.pick(["comm_msg", "execute_request"]),
    content: { text: random.pick(WORDS), list: [random.next(), null, random.pick(WORDS)], [random.pick(["", "漢字", "😀"])]: {} },
    metadata: random.below(2) === 0 ? {} : { key: random.pick(WORDS) },
    parent: JSON.stringify({ ...HEADER, msg_id: random.pick(WORDS) }),
    buffers: Array.from({ length: random.below(4) }, () => Uint8Array.from({ length: random.below(300) }, () => random.below(256))),
    session: "kernel",
  });

describe("what is written can be read", () => {
  test("in either framing, whatever is in it", () => {
    const random = seeded(20_261);
    for (let round = 0; round < 500; round += 1) {
      const sent = randomMessage(random);
      const legacy = encodeLegacy(sent);
      const read = [decodeV1(encodeV1(sent)), decodeLegacy(Buffer.from(legacy), typeof legacy !== "string")];
      for (const { header, content, metadata, channel, buffers } of read) {
        expect([header, JSON.stringify(content), JSON.stringify(metadata), channel]).toEqual([
          sent.header,
          sent.content,
          sent.metadata,
          sent.channel,
        ]);
        expect(buffers.map((buffer) => [...buffer])).toEqual(sent.buffers.map((buffer) => [...buffer]));
      }
    }
  });

  test("a text frame has no buffers and the fields old clients look for", () => {
    const sent = randomMessage(seeded(3));
    expect(JSON.parse(encodeText({ ...sent, buffers: [Buffer.from("x")] }))).toMatchObject({
      buffers: [],
      msg_id: sent.id,
      msg_type: sent.type,
    });
  });
});

describe("hostile frames", () => {
  const good = v1("shell", HEADER, { code: "1" }, Buffer.from("buffer"));
  const with64 = (index: number, value: bigint): Buffer => {
    const frame = Buffer.from(good);
    frame.writeBigUInt64LE(value, 8 * index);
    return frame;
  };

  test.each([
    ["nothing", Buffer.alloc(0)],
    ["less than a count", Buffer.alloc(7)],
    ["a count of 0", with64(0, 0n)],
    ["a count of 2^63", with64(0, 2n ** 63n)],
    ["a count of 2^64 - 1", with64(0, 2n ** 64n - 1n)],
    ["more offsets than bytes", with64(0, 1_000n)],
    ["a first offset inside of the head", with64(1, 1n)],
    ["a first offset behind the end", with64(1, 1_000_000n)],
    ["offsets that go back", with64(3, 9n)],
    ["an offset of 2^64 - 1", with64(4, 2n ** 64n - 1n)],
    ["an end before the end", with64(7, BigInt(good.length - 1))],
    ["an end behind the end", with64(7, BigInt(good.length + 1))],
    ["its tail cut off", good.subarray(0, good.length - 1)],
    ["too few parts", writeV1([Buffer.from("shell"), part(HEADER)])],
    ["a header that is no JSON", writeV1([Buffer.from("shell"), Buffer.from("{"), part({}), part({}), part({})])],
    ["a header that is a list", v1("shell", [], {})],
    ["a header without an id", v1("shell", { ...HEADER, msg_id: undefined }, {})],
    ["a header whose id is a number", v1("shell", { ...HEADER, msg_id: 1 }, {})],
    ["a header of a megabyte", v1("shell", { ...HEADER, more: "x".repeat(1024 * 1024) }, {})],
    ["content that is null", v1("shell", HEADER, null)],
    ["an unknown channel", v1("hell", HEADER, {})],
    ["the channel that is the kernel's", v1("iopub", HEADER, {})],
  ])("v1 with %s are refused, and nothing else is thrown", (_what, frame) => {
    expect(() => decodeV1(frame)).toThrow(FrameError);
  });

  test.each([
    ["no JSON", Buffer.from("hello"), false],
    ["an array", Buffer.from("[]"), false],
    ["no header", Buffer.from('{"channel":"shell"}'), false],
    ["binary without offsets", Buffer.alloc(3), true],
    ["binary with a count of 0", Buffer.alloc(8), true],
    ["binary with a count of 2^32 - 1", Buffer.alloc(8, 0xff), true],
    ["binary whose offset points at the head", Buffer.from([0, 0, 0, 1, 0, 0, 0, 0, 123, 125]), true],
    ["binary whose offset points behind the end", Buffer.from([0, 0, 0, 1, 0, 0, 1, 0, 123, 125]), true],
  ])("legacy: %s", (_what, frame, binary) => {
    expect(() => decodeLegacy(frame, binary)).toThrow(FrameError);
  });

  test("legacy: no channel is shell, as Jupyter Server's own clients of gateways leave it out", () => {
    const frame = Buffer.from(JSON.stringify({ header: HEADER, content: {} }));
    expect(decodeLegacy(frame, false)).toMatchObject({ channel: "shell", type: HEADER.msg_type });
  });

  test("20,000 damaged frames end in a message or a FrameError", () => {
    const random = seeded(7);
    let read = 0;
    for (let round = 0; round < 20_000; round += 1) {
      const frame = Buffer.from(encodeV1(randomMessage(random)));
      for (let damage = random.below(4); damage >= 0; damage -= 1) frame[random.below(frame.length)] = random.below(256);
      try {
        decodeV1(frame.subarray(0, frame.length - random.below(2)));
        read += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(FrameError);
      }
    }
    expect(read).toBeGreaterThan(0);
  });

  test("missing optional fields are nobody's fault", () => {
    const { metadata, content, session } = decodeLegacy(Buffer.from('{"channel":"shell","header":{"msg_id":"1","msg_type":"x"}}'), false);
    expect([metadata, content, session]).toEqual([{}, {}, ""]);
  });
});
