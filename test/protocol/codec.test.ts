import { duplexPair } from "node:stream";
import { describe, expect, test } from "vitest";
import {
  encodeFrame,
  FrameChannel,
  FrameParser,
  HANDSHAKE_LINE_BYTES,
  LINE_LIMIT_BYTES,
  SendQueue,
  WireError,
  type WireFrame,
} from "../../src/protocol/codec.ts";
import { PIECE_BYTES } from "../../src/protocol/frames.ts";
import { retainedBytes } from "../kit/memory.ts";
import { type Random, seeded } from "../kit/random.ts";

const parseAll = (bytes: Buffer, lineLimitBytes = LINE_LIMIT_BYTES): WireFrame[] => new FrameParser(lineLimitBytes).push(bytes);

const linesOf = (queue: SendQueue): string => {
  let lines = "";
  for (let batch = queue.batch(); batch !== ""; batch = queue.batch()) lines += batch;
  return lines;
};

/** Text that JSON and UTF-8 find hard: escapes, newlines, separators, astral characters, now and then a lone surrogate. */
const text = (random: Random, length: number): string => {
  const bits = ["a", '"', "\\", "\n", "\u0000", "é", "漢", "😀", "\u2028", "\\ud800", "}", "\x1e"];
  let made = "";
  while (made.length < length) made += random.below(50) === 0 ? "\ud83d" : random.pick(bits);
  return made;
};

const frame = (random: Random, number: number): WireFrame => ({
  frame: random.pick(["record", "reply", "later"]),
  number,
  text: text(random, random.below(60)),
  nested: { list: [random.next(), null, true, random.below(1e9)] },
});

const inPieces = function* (random: Random, bytes: Buffer): Generator<Buffer> {
  for (let from = 0; from < bytes.length; ) {
    const to = from + 1 + random.below(random.pick([1, 3, 64, 4096]));
    yield bytes.subarray(from, to);
    from = to;
  }
};

const wellFormed = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "string" ? inner.toWellFormed() : inner)));

describe("the parser", () => {
  test("gives the same frames however the bytes are cut", () => {
    const random = seeded(7);
    const frames = Array.from({ length: 300 }, (_, number) => frame(random, number));
    const bytes = Buffer.from(frames.map((one) => `${encodeFrame(one)}\n`).join(""));
    for (let round = 0; round < 20; round++) {
      const parser = new FrameParser(LINE_LIMIT_BYTES);
      const got = [...inPieces(random, bytes)].flatMap((piece) => parser.push(piece));
      expect(got).toEqual(frames.map(wellFormed));
    }
  });

  test("refuses a line that is too long before it has seen its end", () => {
    const parser = new FrameParser();
    expect(parser.push(Buffer.from(`{"frame":"a"}\n`))).toHaveLength(1);
    expect(() => {
      for (let sent = 0; sent <= HANDSHAKE_LINE_BYTES; sent += 64) parser.push(Buffer.alloc(64, "x"));
    }).toThrow(WireError);
    expect(() => new FrameParser().push(Buffer.alloc(HANDSHAKE_LINE_BYTES + 1, "x"))).toThrow(/longer than 4096 bytes/);
  });

  test.each([
    ["not JSON", "hello\n"],
    ["an empty line", "\n"],
    ["a number", "1\n"],
    ["null", "null\n"],
    ["an array", '[{"frame":"a"}]\n'],
    ["an object without frame", "{}\n"],
    ["NaN, which Python writes", '{"frame":"record","value":NaN}\n'],
    ["a part without text", '{"frame":"part","of":1,"last":true}\n'],
    ["a part made of parts", `${JSON.stringify({ frame: "part", of: 1, text: '{"frame":"part"}', last: true })}\n`],
    ["a part whose whole is not JSON", '{"frame":"part","of":1,"text":"{","last":true}\n'],
  ])("refuses %s", (_what, line) => {
    expect(() => parseAll(Buffer.from(line))).toThrow(WireError);
  });

  test("bounds what parts may hold, their number and the frames under way at once", () => {
    const part = (of: number, piece: string) => Buffer.from(`${JSON.stringify({ frame: "part", of, text: piece, last: false })}\n`);
    const send = (parser: FrameParser, pieces: Iterable<Buffer>) => {
      for (const piece of pieces) parser.push(piece);
    };
    const limited = () => new FrameParser(LINE_LIMIT_BYTES, 1_000_000);
    expect(() => send(limited(), Array(11).fill(part(1, "x".repeat(100_000))))).toThrow(/longer than 1000000 bytes/);
    expect(() => send(limited(), Array(1_001).fill(part(1, "")))).toThrow(/longer than 1000000 bytes/);
    expect(() =>
      send(
        limited(),
        Array.from({ length: 20 }, (_, of) => part(of, "x")),
      ),
    ).toThrow(/too many frames in parts/);
  });

  test("survives 100,000 seeded frames, whole and damaged, and does not grow", { timeout: 60_000 }, async () => {
    const random = seeded(20_251_121);
    let parser = new FrameParser(LINE_LIMIT_BYTES);
    let [whole, refused] = [0, 0];
    const feed = async (count: number) => {
      for (let number = 0; number < count; number++) {
        const queue = new SendQueue();
        const long = random.below(5_000) === 0;
        queue.add(encodeFrame(long ? { frame: "long", text: text(random, 2 * PIECE_BYTES) } : frame(random, number)), "bulk");
        const bytes = Buffer.from(linesOf(queue));
        const damaged = random.below(4) === 0;
        if (damaged) {
          for (let hits = 1 + random.below(4); hits > 0; hits--) bytes[random.below(bytes.length)] = random.below(256);
        }
        const sent = damaged && random.below(3) === 0 ? bytes.subarray(0, random.below(bytes.length)) : bytes;
        try {
          for (const piece of random.below(20) === 0 ? inPieces(random, sent) : [sent]) whole += parser.push(piece).length;
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
          refused += 1;
          parser = new FrameParser(LINE_LIMIT_BYTES);
        }
      }
      return retainedBytes();
    };
    const before = await feed(20_000);
    const after = await feed(80_000);
    expect(after - before).toBeLessThan(1024 * 1024);
    // The damage neither swallowed everything nor went unnoticed.
    expect(whole).toBeGreaterThan(70_000);
    expect(refused).toBeGreaterThan(5_000);
  });
});

describe("the encoder", () => {
  test("puts U+FFFD in the place of lone surrogates and leaves everything else", () => {
    const hard = { frame: "x", text: '\ud800 \udc00 😀 \\ud800 \\\\udfff "\\', "key\udfff": ["\ud83d"] };
    const [got] = parseAll(Buffer.from(`${encodeFrame(hard)}\n`));
    expect(got).toEqual({ frame: "x", text: '\ufffd \ufffd 😀 \\ud800 \\\\udfff "\\', "key\ufffd": ["\ufffd"] });
  });

  test("cuts long frames between characters, in lines that the other side takes", () => {
    const long = { frame: "submit", code: "漢😀é".repeat(200_000) };
    const queue = new SendQueue();
    queue.add(encodeFrame(long), "bulk");
    const bytes = Buffer.from(linesOf(queue));
    expect(parseAll(bytes)).toEqual([long]);
    for (const line of bytes.toString().trimEnd().split("\n")) {
      const { text: piece } = JSON.parse(line);
      expect(Buffer.byteLength(piece)).toBeLessThanOrEqual(PIECE_BYTES);
      expect(Buffer.byteLength(piece)).toBeGreaterThan(0);
    }
  });

  test("lets control go between the pieces of bulk and keeps the order within each", () => {
    const queue = new SendQueue();
    const bulk = [1, 2, 3].map((number) => ({ frame: "submit", number, code: "x".repeat(2 * PIECE_BYTES) }));
    for (const one of bulk) queue.add(encodeFrame(one), "bulk");
    let lines = queue.batch();
    for (const number of [1, 2]) queue.add(encodeFrame({ frame: "cancel", number }), "control");
    const next = queue.batch();
    expect(next.startsWith('{"frame":"cancel","number":1}\n{"frame":"cancel","number":2}\n{"frame":"part"')).toBe(true);
    lines += next + linesOf(queue);
    const got = parseAll(Buffer.from(lines));
    expect(got.filter((one) => one.frame === "submit")).toEqual(bulk);
  });
});

describe("a channel", () => {
  const collector = () => {
    const frames: WireFrame[] = [];
    const { promise: ended, resolve } = Promise.withResolvers<Error | null>();
    return { frames, ended, receiver: { frames: (batch: readonly WireFrame[]) => void frames.push(...batch), ended: resolve } };
  };

  test("shares one write among the frames of one turn", async () => {
    const [left, right] = duplexPair();
    const writes: string[] = [];
    right.on("data", (chunk: Buffer) => writes.push(chunk.toString()));
    const channel = new FrameChannel(left);
    for (const number of [1, 2, 3]) channel.send(encodeFrame({ frame: "x", number }), "control");
    await expect.poll(() => writes).toEqual(['{"frame":"x","number":1}\n{"frame":"x","number":2}\n{"frame":"x","number":3}\n']);
    await channel.close();
  });

  test("waits for a slow peer, and control queued meanwhile overtakes bulk", async () => {
    const [left, right] = duplexPair();
    const [sender, reader] = [new FrameChannel(left), new FrameChannel(right)];
    reader.trust();
    for (let number = 0; number < 40; number++) sender.send(encodeFrame({ frame: "bulk", number, text: "x".repeat(100_000) }), "bulk");
    await new Promise(setImmediate);
    sender.send(encodeFrame({ frame: "urgent" }), "control");
    const { frames, receiver } = collector();
    reader.receive(receiver);
    await expect.poll(() => frames.length).toBe(41);
    expect(frames.findIndex((one) => one.frame === "urgent")).toBeLessThan(10);
    expect(frames.filter((one) => one.frame === "bulk").map((one) => one["number"])).toEqual(Array.from({ length: 40 }, (_, n) => n));
    await Promise.all([sender.close(), reader.close()]);
  });

  test("ends with the error of its receiver, and tells it so", async () => {
    const [left, right] = duplexPair();
    const [sender, reader] = [new FrameChannel(left), new FrameChannel(right)];
    const { ended, receiver } = collector();
    const broken = new WireError("not for me");
    reader.receive({
      ...receiver,
      frames: () => {
        throw broken;
      },
    });
    sender.send(encodeFrame({ frame: "x" }), "control");
    expect(await ended).toBe(broken);
    await sender.close();
  });

  test("reads what the peer sent before it closed, when it finishes itself", async () => {
    const [left, right] = duplexPair();
    const [sender, reader] = [new FrameChannel(left), new FrameChannel(right)];
    const { frames, ended, receiver } = collector();
    reader.receive(receiver);
    sender.send(encodeFrame({ frame: "last" }), "bulk");
    const finished = reader.finish(5_000);
    sender.receive({ frames: () => undefined, ended: () => undefined });
    await finished;
    expect(await ended).toBeNull();
    expect(frames).toEqual([{ frame: "last" }]);
    await sender.close();
  });
});
