import type { Parts } from "./wire.ts";

/**
 * A message as the WebSocket subprotocol `v1.kernel.websocket.jupyter.org` frames it: a count and offsets, 64 bits each and little-endian,
 * then the channel's name and the message's parts.
 */
export const SUBPROTOCOL = "v1.kernel.websocket.jupyter.org";

const WORD = 8;

export const encodeFrame = (channel: string, parts: Parts): Buffer => {
  const pieces = [Buffer.from(channel), ...parts];
  const head = Buffer.alloc(WORD * (pieces.length + 2));
  head.writeBigUInt64LE(BigInt(pieces.length + 1), 0);
  let offset = head.length;
  for (const [index, piece] of pieces.entries()) {
    head.writeBigUInt64LE(BigInt(offset), WORD * (index + 1));
    offset += piece.length;
  }
  head.writeBigUInt64LE(BigInt(offset), WORD * (pieces.length + 1));
  return Buffer.concat([head, ...pieces], offset);
};

/** Null: this is no such frame. The parts are views of `frame`. */
export const decodeFrame = (frame: Buffer): { readonly channel: string; readonly parts: Parts } | null => {
  if (frame.length < WORD) return null;
  const count = Number(frame.readBigUInt64LE(0));
  if (count < 2 || frame.length < WORD * (count + 1)) return null;
  const offsets = Array.from({ length: count }, (_, index) => Number(frame.readBigUInt64LE(WORD * (index + 1))));
  const ordered = offsets.every((offset, index) => offset >= (index === 0 ? WORD * (count + 1) : (offsets[index - 1] ?? 0)));
  if (!ordered || offsets.at(-1) !== frame.length) return null;
  const pieces = offsets.slice(1).map((end, index) => frame.subarray(offsets[index], end));
  const [channel, ...parts] = pieces;
  return channel === undefined ? null : { channel: channel.toString(), parts };
};
