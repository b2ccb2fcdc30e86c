import http from "node:http";
import { text } from "node:stream/consumers";

export interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is; an object is sent as JSON. */
  readonly body?: string | Uint8Array | object | null;
  readonly timeoutMs?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Parsed when it is JSON, else the text. */
  readonly body: unknown;
  readonly bytes: number;
}

const encode = (body: Exchange["body"]): Buffer | null => {
  if (body === null || body === undefined) return null;
  if (typeof body === "string" || body instanceof Uint8Array) return Buffer.from(body);
  return Buffer.from(JSON.stringify(body));
};

const parse = (raw: string): unknown => {
  try {
    return JSON.parse(raw);
  } catch {
    return raw;
  }
};

/**
 * One exchange as a plain client makes it: no header is added but Content-Length and, for an object, the JSON content type; nothing is
 * followed, decompressed or retried. Rejects when the answer is not whole within `timeoutMs` (60 s).
 */
export const exchange = async (url: string, request: Exchange, agent?: http.Agent): Promise<Answer> => {
  const data = encode(request.body);
  const json = data !== null && typeof request.body === "object" && !(request.body instanceof Uint8Array);
  const signal = AbortSignal.timeout(request.timeoutMs ?? 60_000);
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const outgoing = http.request(url.replace(/\/$/, "") + request.path, {
      method: request.method,
      headers: {
        ...(json ? { "Content-Type": "application/json" } : {}),
        ...(data !== null || request.method === "POST" ? { "Content-Length": String(data?.length ?? 0) } : {}),
        ...request.headers,
      },
      signal,
      ...(agent === undefined ? { agent: false } : { agent }),
    });
    outgoing.on("response", resolve);
    outgoing.on("error", reject);
    outgoing.end(data ?? undefined);
  });
  const raw = await text(response);
  return { status: response.statusCode ?? 0, headers: response.headers, body: parse(raw), bytes: Buffer.byteLength(raw) };
};
