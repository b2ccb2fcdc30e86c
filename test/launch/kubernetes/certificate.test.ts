import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { certificatePin, driverCertificate } from "../../../src/launch/kubernetes/certificate.ts";
import { connectTcp, secure, tlsContext } from "../../../src/launch/kubernetes/dial.ts";

const MASTER = new Uint8Array(32).fill(1);
const soon = () => AbortSignal.timeout(5_000);
const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** Listens with a session's certificate, answers the port. */
const listen = async (uid: string): Promise<number> => {
  const { key, certificate } = driverCertificate(MASTER, uid);
  const server = createTlsServer({ key, cert: certificate, minVersion: "TLSv1.3" }, (socket) => socket.pipe(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(() => server.close());
  return (server.address() as AddressInfo).port;
};

describe("a driver's certificate", () => {
  test("is signed by itself, and the same whoever makes it", () => {
    const made = driverCertificate(MASTER, "a");
    const read = new X509Certificate(made.certificate);
    expect(read.verify(read.publicKey)).toBe(true);
    expect(read.subject).toBe("CN=longwick driver a");
    expect(driverCertificate(MASTER, "a")).toEqual(made);
    expect(certificatePin(MASTER, "a")).toBe(made.pin);
    expect(certificatePin(MASTER, "b")).not.toBe(made.pin);
    expect(certificatePin(new Uint8Array(32), "a")).not.toBe(made.pin);
  });

  test("lets bytes through to who pins it", async () => {
    const port = await listen("a");
    const link = await secure(await connectTcp("127.0.0.1", port, soon()), certificatePin(MASTER, "a"), tlsContext(), soon());
    link.write("hello");
    expect(String((await once(link, "data"))[0])).toBe("hello");
    link.destroy();
  });

  test("another session's is refused before a byte is said", async () => {
    const port = await listen("b");
    const dialled = secure(await connectTcp("127.0.0.1", port, soon()), certificatePin(MASTER, "a"), tlsContext(), soon());
    await expect(dialled).rejects.toThrow("not this session's driver");
  });

  test("who speaks no TLS, hangs up or says nothing is refused", async () => {
    const answers = ["plain text\n", null, ""];
    const server = createServer((socket) => {
      const answer = answers.shift();
      if (answer === null) socket.destroy();
      else socket.write(answer ?? "");
      socket.on("error", () => undefined);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    closing.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    const dial = async (ms = 5_000) => secure(await connectTcp("127.0.0.1", port, soon()), "pin", tlsContext(), AbortSignal.timeout(ms));
    await expect(dial()).rejects.toThrow();
    await expect(dial()).rejects.toThrow();
    await expect(dial(50)).rejects.toThrow(/timeout/);
  });
});
