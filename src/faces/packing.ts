import { gzip } from "node:zlib";
import type { FastifyRequest, onSendHookHandler } from "fastify";

const LOOPBACK = /^(127\.|::1$|::ffff:127\.)/;

/** A hook that compresses answers from `fromBytes` on for those who ask; not for callers on this machine, where it costs more than it saves. */
export const packLarge =
  (fromBytes: number): onSendHookHandler =>
  (request, reply, payload, done) => {
    if (typeof payload !== "string" || payload.length < fromBytes || !wantsGzip(request)) return done(null, payload);
    // Level 1: most of the gain for a fifth of the time.
    gzip(payload, { level: 1 }, (error, packed) => {
      if (error === null) reply.header("content-encoding", "gzip").header("vary", "accept-encoding");
      done(null, error === null ? packed : payload);
    });
  };

const wantsGzip = ({ headers, raw, caller }: FastifyRequest): boolean =>
  /\bgzip\b/.test(String(headers["accept-encoding"] ?? "")) && !(isHere(caller.remote) && isHere(raw.socket.remoteAddress));

const isHere = (address: string | null | undefined): boolean => LOOPBACK.test(address ?? "");
