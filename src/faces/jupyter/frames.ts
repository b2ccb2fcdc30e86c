import { type Channel, isContent, type Message, type Request } from "./messages.ts";

/**
 * Messages on a WebSocket, in the two framings of Jupyter Server: one JSON text a message (buffers make it binary), and
 * `v1.kernel.websocket.jupyter.org`, binary throughout. Nothing here knows what a message means.
 */
export const V1_PROTOCOL = "v1.kernel.websocket.jupyter.org";

/** What came is no message; the socket can live on. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** A header goes back with every output and is kept with its statement: no client needs a longer one. */
const HEADER_LIMIT_CHARS = 16 * 1024;
const BUFFERS_LIMIT = 10_000;
const CHANNELS: ReadonlySet<string> = new Set<Channel>(["shell", "control", "stdin"]);

/** What one `send` of a socket is given. */
export type Frame = string | Buffer;

// ── v1: little-endian u64 count of offsets, the offsets, then channel, header, parent, metadata, content and buffers ────────────

export const encodeV1 = (message: Message): Buffer => {
  const { channel, header, parent, metadata, content, buffers } = message;
  const texts = [channel, header, parent, metadata, content];
  const lengths = [...texts.map((text) => Buffer.byteLength(text)), ...buffers.map((buffer) => buffer.byteLength)];
  const start = 8 * (lengths.length + 2);
  const frame = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + length, start));
  frame.writeBigUInt64LE(BigInt(lengths.length + 1), 0);
  let offset = start;
  for (const [index, length] of lengths.entries()) {
    frame.writeBigUInt64LE(BigInt(offset), 8 * (index + 1));
    const text = texts[index];
    if (text === undefined) frame.set(buffers[index - texts.length] ?? [], offset);
    else frame.write(text, offset, "utf8");
    offset += length;
  }
  frame.writeBigUInt64LE(BigInt(offset), 8 * (lengths.length + 1));
  return frame;
};

/** @throws FrameError */
export const decodeV1 = (frame: Buffer): Request => {
  const [channel, header, parent, metadata, content, ...buffers] = split(frame);
  if (channel === undefined || header === undefined || metadata === undefined || content === undefined)
    throw new FrameError("a message has fewer than five parts");
  return requestOf(channel.toString("utf8"), parse(header), parseParent(parent), parse(metadata), parse(content), buffers);
};

const split = (frame: Buffer): readonly Buffer[] => {
  if (frame.length < 8) throw new FrameError("a frame has no count");
  const count = frame.readBigUInt64LE(0);
  if (count < 2n || count > BUFFERS_LIMIT || 8n * (count + 1n) > frame.length) throw new FrameError("a frame's count is not possible");
  const offsets = Array.from({ length: Number(count) }, (_, index) => frame.readBigUInt64LE(8 * (index + 1)));
  if (offsets[0] !== 8n * (count + 1n) || offsets.at(-1) !== BigInt(frame.length)) throw new FrameError("a frame's offsets do not span it");
  return offsets.slice(0, -1).map((from, index) => {
    const to = offsets[index + 1] ?? from;
    // Together with the ends: every offset lies inside of the frame.
    if (to < from) throw new FrameError("a frame's offsets do not ascend");
    return frame.subarray(Number(from), Number(to));
  });
};

// ── Legacy: JSON, and with buffers big-endian u32 count and offsets before it ───────────────────────────────────────────────────

/** The message without its buffers: what a client may have that chokes on binary frames. */
export const encodeText = ({ channel, header, parent, metadata, content, id, type }: Message): string =>
  `{"channel":"${channel}","header":${header},"parent_header":${parent},"metadata":${metadata},"content":${content},"buffers":[],"msg_id":${JSON.stringify(id)},"msg_type":${JSON.stringify(type)}}`;

export const encodeLegacy = (message: Message): Frame => {
  const text = encodeText(message);
  if (message.buffers.length === 0) return text;
  const parts = [Buffer.from(text), ...message.buffers];
  const head = Buffer.allocUnsafe(4 * (parts.length + 1));
  head.writeUInt32BE(parts.length, 0);
  let offset = head.length;
  for (const [index, part] of parts.entries()) {
    head.writeUInt32BE(offset, 4 * (index + 1));
    offset += part.byteLength;
  }
  return Buffer.concat([head, ...parts]);
};

/** @throws FrameError */
export const decodeLegacy = (frame: Buffer, binary: boolean): Request => {
  const [text = frame, ...buffers] = binary ? splitLegacy(frame) : [frame];
  const value = parse(text);
  // Jupyter Server's own clients of gateways name no channel; it takes that for shell, and so do we.
  return requestOf(value["channel"] ?? "shell", value["header"], value["parent_header"], value["metadata"], value["content"], buffers);
};

const splitLegacy = (frame: Buffer): readonly Buffer[] => {
  if (frame.length < 8) throw new FrameError("a binary frame has no offsets");
  const count = frame.readUInt32BE(0);
  if (count < 1 || count > BUFFERS_LIMIT || 4 * (count + 1) > frame.length) throw new FrameError("a frame's count is not possible");
  const offsets = Array.from({ length: count }, (_, index) => frame.readUInt32BE(4 * (index + 1)));
  return offsets.map((from, index) => {
    const to = offsets[index + 1] ?? frame.length;
    if (from < 4 * (count + 1) || to < from || to > frame.length) throw new FrameError("a frame's offsets do not ascend inside of it");
    return frame.subarray(from, to);
  });
};

// ── Both ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const parse = (bytes: Buffer): Readonly<Record<string, unknown>> => {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new FrameError("a part is not JSON", { cause });
  }
  if (!isContent(value)) throw new FrameError("a part is no JSON object");
  return value;
};

/** @jupyterlab/services sends an empty part for a parent that is not given. */
const parseParent = (bytes: Buffer | undefined): unknown => (bytes === undefined || bytes.length === 0 ? {} : parse(bytes));

/** What was parsed may be nested more deeply than it can be written. */
const textOf = (header: object): string => {
  try {
    return JSON.stringify(header);
  } catch (cause) {
    throw new FrameError("a header is nested too deeply", { cause });
  }
};

/** Unknown fields and missing optional ones are nobody's fault; a header without id and type cannot be answered. */
const requestOf = (
  channel: unknown,
  header: unknown,
  parent: unknown,
  metadata: unknown,
  content: unknown,
  buffers: readonly Buffer[],
): Request => {
  if (typeof channel !== "string" || !CHANNELS.has(channel)) throw new FrameError("unknown channel");
  if (!isContent(header)) throw new FrameError("a message has no header");
  const { msg_id: id, msg_type: type, session = "" } = header;
  if (typeof id !== "string" || id === "" || typeof type !== "string" || typeof session !== "string")
    throw new FrameError("a header has no msg_id and msg_type");
  const text = textOf(header);
  if (text.length > HEADER_LIMIT_CHARS) throw new FrameError("a header is too long");
  return {
    // Checked border: one of CHANNELS, which are Request's.
    channel: channel as Request["channel"],
    ...{ id, type, session, header: text },
    parent: isContent(parent) && typeof parent["msg_id"] === "string" ? parent["msg_id"] : "",
    metadata: isContent(metadata) ? metadata : {},
    content: isContent(content) ? content : {},
    buffers,
  };
};
