/** Where statements go and who sends them. */
export interface Target {
  /** Without a slash at its end, without credentials. */
  readonly url: string;
  /** Value of the `Authorization` header; null: none. */
  readonly authorization: string | null;
}

/** An address that is none. */
export class TargetError extends Error {
  override readonly name = "TargetError";
}

/** The target a URL names: `user:password` in it is taken out and sent as Basic. @throws TargetError when it is no URL */
export const targetOf = (text: string, token: string | null): Target => {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) throw new TargetError(`${text} is no http or https URL.`);
  const basic = url.username === "" ? null : `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  url.username = "";
  url.password = "";
  const authorization = token !== null ? `Bearer ${token}` : basic !== null ? `Basic ${Buffer.from(basic).toString("base64")}` : null;
  return { url: url.href.replace(/\/+$/, ""), authorization };
};
