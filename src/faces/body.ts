import { isUtf8 } from "node:buffer";
import { Problem } from "../core/problems.ts";

/**
 * The JSON value a request's body holds, whatever content type it claims: clients post JSON as text, as a form or as nothing (clients.md
 * §1). An empty body is undefined.
 * @throws Problem INVALID
 */
export const parseBody = (body: Buffer, contentEncoding: string | undefined): unknown => {
  // Livy's own Java client says `Content-Encoding: UTF-8`, which is no coding at all.
  if (contentEncoding !== undefined && /gzip|deflate|br|zstd|compress/i.test(contentEncoding)) {
    throw new Problem("INVALID", "A compressed body cannot be read here: send it plain.");
  }
  const text = decode(body);
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Problem("INVALID", `The body is not JSON: ${error instanceof Error ? error.message : "it cannot be parsed"}`, {
      cause: error,
    });
  }
};

/** JSON is UTF-8; a byte order mark may say UTF-16. */
const decode = (body: Buffer): string => {
  if (body[0] === 0xff && body[1] === 0xfe) return new TextDecoder("utf-16le").decode(body);
  if (body[0] === 0xfe && body[1] === 0xff) return new TextDecoder("utf-16be").decode(body);
  if (!isUtf8(body)) throw new Problem("INVALID", "The body is not UTF-8.");
  const text = body.toString("utf8");
  return text.startsWith("\u{FEFF}") ? text.slice(1) : text;
};
