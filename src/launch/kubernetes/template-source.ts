const TEMPLATE_MS = 10_000;
const TEMPLATE_BYTES = 256 * 1024;

/**
 * A template's text. Only over HTTPS: a path would be read from the server's own disk, and a driver's disk is not there yet.
 * @throws Error that says why it cannot be had
 */
export const fetchTemplate = async (uri: string, signal: AbortSignal): Promise<string> => {
  if (!/^https:\/\//i.test(uri))
    throw new Error("templates are given inline or as https URI; files of the server or of an image are not read");
  const within = AbortSignal.any([signal, AbortSignal.timeout(TEMPLATE_MS)]);
  const response = await fetch(uri, { redirect: "manual", signal: within }).catch((error: unknown) => {
    throw new Error(`${uri} cannot be read: ${reasonOf(error)}`, { cause: error });
  });
  // Where it leads to no rule has allowed.
  if (response.status >= 300 && response.status < 400) throw new Error(`${uri} redirects to another address, which is not followed`);
  if (!response.ok) throw new Error(`${uri} answers ${response.status}`);
  const chunks: Uint8Array[] = [];
  let room = TEMPLATE_BYTES;
  for await (const chunk of response.body ?? []) {
    room -= chunk.length;
    if (room < 0) throw new Error(`${uri} is larger than ${TEMPLATE_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
};

/** What fetch itself says is that it failed. */
const reasonOf = (error: unknown): string => {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
};
