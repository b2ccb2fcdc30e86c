import { createHash, X509Certificate } from "node:crypto";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import { opened } from "../opened.ts";

/** Opens a TCP connection to a pod; rejects when there is none to be had, or with the signal's reason. */
export const connectTcp = async (host: string, port: number, signal: AbortSignal): Promise<Socket> => {
  // To Node that is this machine.
  if (host === "") throw new Error("the driver's pod has no address");
  const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 20_000 });
  // Between here and its next listener an error is told of by `close` alone.
  socket.on("error", () => undefined);
  return opened(socket, "connect", signal);
};

/** What TLS needs on this end. One serves all drivers: each socket would have one of its own otherwise, with everything in it. */
export const tlsContext = (): SecureContext =>
  // The certificate is nobody's but its session's: no authority and no name vouches for it, its key does.
  createSecureContext({ minVersion: "TLSv1.3", ca: [] });

/**
 * Speaks TLS 1.3 over a connection with whoever shows the pinned public key. Owns the connection from here on.
 * @throws when the other end is another one
 */
export const secure = async (carrier: Duplex, pin: string, secureContext: SecureContext, signal: AbortSignal): Promise<Duplex> => {
  if (carrier.destroyed) throw carrier.errored ?? new Error("the connection was closed while it was made");
  const socket = connectTls({ socket: carrier, secureContext, rejectUnauthorized: false, ALPNProtocols: [] });
  socket.on("error", () => undefined);
  carrier.on("error", (error) => socket.destroy(error));
  await opened(socket, "secureConnect", signal);
  if (pinOf(socket) === pin) return socket;
  socket.destroy();
  throw new Error("who answers at the driver's address is not this session's driver: its certificate is another one");
};

const pinOf = (socket: TLSSocket): string => {
  const { raw } = socket.getPeerCertificate();
  if (raw === undefined) return "";
  return createHash("sha256")
    .update(new X509Certificate(raw).publicKey.export({ format: "der", type: "spki" }))
    .digest("base64");
};
