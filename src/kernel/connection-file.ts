import { readFileSync } from "node:fs";

/** What a Jupyter client and the kernel it starts agree on, as jupyter_client writes it. */
export interface Connection {
  readonly transport: "tcp" | "ipc";
  readonly ip: string;
  readonly ports: Readonly<Record<SocketName, number>>;
  /** Empty: messages are not signed. */
  readonly key: string;
  /** Name of the hash that signs: `sha256`. */
  readonly hash: string;
  /** Keys of the CurveZMQ server in Z85; null: no encryption. */
  readonly curve: { readonly publicKey: string; readonly secretKey: string } | null;
}

export const SOCKET_NAMES = ["shell", "control", "stdin", "iopub", "hb"] as const;
export type SocketName = (typeof SOCKET_NAMES)[number];

/** A connection file that cannot be used; the message says what is wrong with it. */
export class ConnectionFileError extends Error {
  override readonly name = "ConnectionFileError";
}

/** @throws ConnectionFileError */
export const readConnectionFile = (path: string): Connection => {
  try {
    return parseConnection(JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    throw new ConnectionFileError(`Connection file ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
};

/** @throws Error that names the field that is missing or wrong */
export const parseConnection = (value: unknown): Connection => {
  if (typeof value !== "object" || value === null) throw new Error("it is no JSON object");
  // Each field is looked at below.
  const file = value as Readonly<Record<string, unknown>>;
  const text = (name: string, otherwise?: string): string => {
    const found = file[name] ?? otherwise;
    if (typeof found !== "string") throw new Error(`${name} is missing or no text`);
    return found;
  };
  const port = (name: SocketName): number => {
    const found = file[`${name}_port`];
    if (!Number.isInteger(found) || Number(found) < 0) throw new Error(`${name}_port is missing or no port`);
    return Number(found);
  };
  const transport = text("transport", "tcp");
  if (transport !== "tcp" && transport !== "ipc") throw new Error(`transport ${transport} is neither tcp nor ipc`);
  const [, hash] = /^hmac-(sha256|sha384|sha512)$/.exec(text("signature_scheme", "hmac-sha256")) ?? [];
  if (hash === undefined) throw new Error(`signature_scheme ${text("signature_scheme")} is not supported: use hmac-sha256`);
  const curve = file["curve_secretkey"] ? { publicKey: text("curve_publickey"), secretKey: text("curve_secretkey") } : null;
  const ports = Object.fromEntries(SOCKET_NAMES.map((name) => [name, port(name)])) as Record<SocketName, number>; // every name has one
  return { transport, ip: text("ip", "127.0.0.1"), ports, key: text("key", ""), hash, curve };
};

/** Where a socket is bound. */
export const addressOf = ({ transport, ip, ports }: Connection, name: SocketName): string =>
  transport === "ipc" ? `ipc://${ip}-${ports[name]}` : `tcp://${ip.includes(":") ? `[${ip}]` : ip}:${ports[name]}`;
