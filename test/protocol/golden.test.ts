import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { type TSchema, Type } from "typebox";
import { Compile } from "typebox/compile";
import { describe, expect, test } from "vitest";
import { encodeFrame, FrameParser, HANDSHAKE_LINE_BYTES, LINE_LIMIT_BYTES, type WireFrame } from "../../src/protocol/codec.ts";
import {
  Challenge,
  Failure,
  Hello,
  Part,
  PROTOCOL_VERSIONS,
  Prove,
  proofText,
  RECORD_SINCE,
  REQUEST_SINCE,
  Records,
  type RecordType,
  Refused,
  Replies,
  Reply,
  type RequestName,
  Requests,
} from "../../src/protocol/frames.ts";

/**
 * What was sent in each version, one frame a line; python-shim/tests/test_golden.py reads the same files. Lines are never changed: when
 * one fails, ends of that version are no longer understood.
 *
 * Each line's last field is the frame itself. `of`: the request that a reply or failure answers. `whole`, with a last part: what the
 * pieces make. `key`: the session's, with each frame of a handshake; challenge, prove and hello follow each other.
 */
const Line = Type.Object({
  name: Type.String(),
  from: Type.Union([Type.Literal("server"), Type.Literal("driver")]),
  of: Type.Optional(Type.String()),
  whole: Type.Optional(Type.Object({ frame: Type.String() })),
  key: Type.Optional(Type.String()),
  frame: Type.Object({ frame: Type.String() }),
});
const CheckedLine = Compile(Line);

const linesOf = (version: number) =>
  readFileSync(new URL(`../fixtures/frames/version-${version}.jsonl`, import.meta.url), "utf8")
    .split("\n")
    .filter((text) => text !== "")
    .map((text, index) => ({
      ...CheckedLine.Parse(JSON.parse(text)),
      number: index + 1,
      // The frame's own bytes, in the spelling they have in the file.
      bytes: Buffer.from(`${text.slice(text.indexOf(',"frame":{"') + ',"frame":'.length, -1)}\n`),
    }));
type GoldenLine = ReturnType<typeof linesOf>[number];

const HANDSHAKE: Readonly<Record<"server" | "driver", Readonly<Record<string, TSchema>>>> = {
  server: { prove: Prove },
  driver: { challenge: Challenge, hello: Hello, refused: Refused },
};
const OTHERS: Readonly<Record<string, TSchema>> = { reply: Reply, failure: Failure, part: Part };

const own = (schemas: Readonly<Record<string, TSchema>>, name: string): TSchema | undefined =>
  Object.hasOwn(schemas, name) ? schemas[name] : undefined;

/** The schema of what a line says it is. */
const schemaOf = ({ name, from, frame }: Pick<GoldenLine, "name" | "from" | "frame">): TSchema => {
  if (frame.frame !== "record") expect(frame.frame).toBe(name);
  const schema =
    own(HANDSHAKE[from], name) ??
    (from === "server" ? own(Requests, name) : frame.frame === "record" ? own(Records, name) : undefined) ??
    (from === "driver" || name === "part" ? own(OTHERS, name) : undefined);
  if (schema === undefined) throw new Error(`no frame of the ${from}'s is called ${name}`);
  return schema;
};

const problems = (schema: TSchema, value: unknown): unknown[] => Compile(schema).Errors(value);

const proofOf = (key: string, text: string): string => createHmac("sha256", Buffer.from(key, "base64url")).update(text).digest("base64url");

const ascending = (names: Iterable<string>): readonly string[] => [...new Set(names)].sort();

describe.each(PROTOCOL_VERSIONS)("golden frames of version %i", (version) => {
  const lines = linesOf(version);
  const requests = ascending(Object.keys(Requests).filter((name) => (REQUEST_SINCE[name as RequestName] ?? 1) <= version));

  const records = ascending(Object.keys(Records).filter((name) => (RECORD_SINCE[name as RecordType] ?? 1) <= version));

  test.each(lines)("line $number, $name of the $from, is valid and stays what it is", ({ bytes, ...line }) => {
    expect(problems(schemaOf(line), line.frame)).toEqual([]);
    if (line.frame.frame === "reply") {
      const schema = own(Replies, line.of ?? "");
      if (schema === undefined) throw new Error(`no request is called ${line.of}`);
      expect(problems(schema, Compile(Reply).Parse(line.frame).result)).toEqual([]);
    }
    const again = encodeFrame(line.frame);
    expect(JSON.parse(again)).toEqual(line.frame);
    if (line.name === "part") return;
    const limit = line.key === undefined ? LINE_LIMIT_BYTES : HANDSHAKE_LINE_BYTES;
    expect(new FrameParser(limit).push(bytes)).toEqual([line.frame]);
    expect(new FrameParser(limit).push(Buffer.from(`${again}\n`))).toEqual([line.frame]);
  });

  test.each(["server", "driver"] as const)("all frames of the %s make one stream, pieces put together", (from) => {
    const sent = lines.filter((line) => line.from === from);
    const expected: WireFrame[] = sent.flatMap(({ name, frame, whole }) => (name === "part" ? (whole ?? []) : frame));
    expect(new FrameParser(LINE_LIMIT_BYTES).push(Buffer.concat(sent.map(({ bytes }) => bytes)))).toEqual(expected);
    const wholes = sent.flatMap(({ whole }) => whole ?? []);
    expect(wholes).toHaveLength(1);
    for (const whole of wholes) {
      const name = "type" in whole ? String(whole.type) : whole.frame;
      expect(problems(schemaOf({ name, from, frame: whole }), whole)).toEqual([]);
    }
  });

  test("every request, reply and record of the version has a line, and no later one has", () => {
    const named = (wanted: (line: GoldenLine) => boolean) => lines.filter(wanted);
    expect(ascending(named(({ from, name }) => from === "server" && Object.hasOwn(Requests, name)).map(({ name }) => name))).toEqual(
      requests,
    );
    expect(ascending(named(({ name }) => name === "reply").map(({ of }) => of ?? ""))).toEqual(requests);
    expect(ascending(named(({ frame }) => frame.frame === "record").map(({ name }) => name))).toEqual(records);
    const rest = named(({ frame }) => !Object.hasOwn(Requests, frame.frame) && frame.frame !== "record");
    expect(ascending(rest.map(({ from, name }) => `${from} ${name}`))).toEqual(
      ascending([
        ...["challenge", "hello", "refused", "reply", "failure", "part"].map((name) => `driver ${name}`),
        ...["prove", "part"].map((name) => `server ${name}`),
      ]),
    );
  });

  test("every answer belongs to a request of its name", () => {
    const asked = new Map<unknown, string>();
    for (const { from, name, frame, whole } of lines) {
      const request = whole ?? frame;
      if (from === "server" && "request" in request) asked.set(request.request, whole?.frame ?? name);
    }
    const answers = lines.filter(({ name }) => name === "reply" || name === "failure");
    expect(answers.map(({ of, frame }) => ["request" in frame && frame.request, of])).toEqual(
      answers.map(({ frame }) => ["request" in frame && frame.request, "request" in frame ? asked.get(frame.request) : undefined]),
    );
    expect(answers).toHaveLength(asked.size);
  });

  test("the proofs are those of the session's key", () => {
    const frames = lines.filter(({ key }) => key !== undefined);
    expect(frames.length).toBeGreaterThan(0);
    for (let at = 0; at < frames.length; at += 3) {
      const [first, second, third] = frames.slice(at, at + 3);
      const [challenge, prove, hello] = [
        Compile(Challenge).Parse(first?.frame),
        Compile(Prove).Parse(second?.frame),
        Compile(Hello).Parse(third?.frame),
      ];
      const key = first?.key ?? "";
      expect([second?.key, third?.key, prove.version, hello.version]).toEqual([key, key, version, version]);
      expect(hello.session).toBe(prove.session);
      const facts = {
        versions: challenge.versions,
        version,
        session: prove.session,
        driverNonce: challenge.nonce,
        serverNonce: prove.nonce,
      };
      expect(prove.proof).toBe(proofOf(key, proofText("server", facts)));
      expect(hello.proof).toBe(proofOf(key, proofText("driver", facts)));
    }
  });
});
