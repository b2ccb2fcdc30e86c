import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterAll, expect, test } from "vitest";
import { Certificate } from "../../src/faces/certificate.ts";

const directory = mkdtempSync(join(tmpdir(), "longwick-certificate-"));
afterAll(() => rmSync(directory, { recursive: true }));
const files = { cert: join(directory, "tls.crt"), key: join(directory, "tls.key") };

const issue = (name: string) => {
  const parameters = [
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-days",
    "2",
    "-subj",
    `/CN=${name}`,
    "-keyout",
    files.key,
    "-out",
    files.cert,
  ];
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", ...parameters], { stdio: "pipe", timeout: 30_000 });
};

test("a renewed certificate is taken over without a restart, half a renewal is not", async () => {
  const faults: string[] = [];
  issue("first");
  const certificate = await Certificate.open(files, (fault) => faults.push(fault));
  const server = createServer(certificate.pem);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const presented = () =>
    new Promise<string>((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      }).once("error", reject);
    });
  try {
    expect(await presented()).toBe("first");
    issue("second");
    await certificate.renew(server);
    expect(await presented()).toBe("second");
    writeFileSync(files.key, "half of it");
    await certificate.renew(server);
    expect([await presented(), faults.length]).toEqual(["second", 1]);
    rmSync(files.cert);
    await certificate.renew(server);
    expect([await presented(), faults.length]).toEqual(["second", 2]);
    issue("third");
    await certificate.renew(server);
    expect(await presented()).toBe("third");
  } finally {
    server.close();
  }
});
