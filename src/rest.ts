import type { Target } from "./target.ts";

/** What the client commands ask of a server. */

/** A server that cannot be used, or what could not be had of it; the message says which. */
export class RunError extends Error {
  override readonly name = "RunError";
}

/** A server that nothing was heard of: it may be there again in a moment. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
}

export interface Sending {
  /** What is sent as JSON, or a form. */
  readonly body?: object;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** @throws UnreachableError, or the signal's reason */
export const send = async (
  { url, authorization }: Target,
  method: string,
  path: string,
  { body, headers, signal }: Sending = {},
): Promise<Response> => {
  const form = body instanceof FormData;
  const all = {
    "X-Requested-By": "longwick",
    ...(authorization === null ? {} : { Authorization: authorization }),
    ...(body === undefined || form ? {} : { "Content-Type": "application/json" }),
    ...headers,
  };
  const content = body === undefined ? {} : { body: form ? body : JSON.stringify(body) };
  try {
    return await fetch(url + path, { method, headers: all, ...content, ...(signal === undefined ? {} : { signal }) });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new UnreachableError(`${url} cannot be reached: ${cause instanceof Error ? cause.message : String(cause)}`, { cause: error });
  }
};

/** The answer to a request that must go well. @throws RunError, UnreachableError */
export const ask = async <Body>(target: Target, method: string, path: string, sending?: Sending): Promise<Body> => {
  const answer = await send(target, method, path, sending);
  if (!answer.ok) throw new RunError(await messageOf(answer));
  return parsed<Body>(answer);
};

// The server's answers are in Livy's shape; who is not a Livy fails here or at the first field.
export const parsed = async <Body>(answer: Response): Promise<Body> => (await answer.json()) as Body;

/** What the server said to a request that did not go well. */
export const messageOf = async (answer: Response): Promise<string> => {
  const text = await answer.text();
  const message = /^\s*\{/.test(text) ? (JSON.parse(text) as { msg?: unknown }).msg : undefined;
  return `${answer.url} answered ${answer.status}: ${String(message ?? text.slice(0, 300))}`;
};
