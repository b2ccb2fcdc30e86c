import { createHash, createPrivateKey, createPublicKey, hkdfSync, sign } from "node:crypto";

/** A driver's TLS key and certificate in PEM, and what a dialler pins: the SHA-256 of its public key (SubjectPublicKeyInfo). */
export interface DriverCertificate {
  readonly key: string;
  readonly certificate: string;
  readonly pin: string;
}

/** DER as X.690 writes it: a tag, a length, a content. */
const der = (tag: number, ...contents: readonly Uint8Array[]): Buffer => {
  const content = Buffer.concat(contents);
  const { length } = content;
  const lengthBytes = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...lengthBytes]), content]);
};
const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const UTF8_STRING = 0x0c;
const GENERALIZED_TIME = 0x18;
const VERSION_3 = Buffer.from([0xa0, 0x03, INTEGER, 0x01, 0x02]);
/** 1.3.101.112 (RFC 8410) and 2.5.4.3. */
const ED25519 = der(SEQUENCE, Buffer.from([0x06, 0x03, 0x2b, 0x65, 0x70]));
const COMMON_NAME = Buffer.from([0x06, 0x03, 0x55, 0x04, 0x03]);
/** A private key of 32 bytes in PKCS #8 (RFC 8410, §7). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
/** No time limits: the certificate is pinned and lives as long as its session (RFC 5280, §4.1.2.5). */
const ALWAYS = der(SEQUENCE, der(GENERALIZED_TIME, Buffer.from("20000101000000Z")), der(GENERALIZED_TIME, Buffer.from("99991231235959Z")));
const NO_UNUSED_BITS = Buffer.from([0]);

const pem = (label: string, bytes: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${(
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? []
  ).join("\n")}\n-----END ${label}-----\n`;

const privateKey = (master: Uint8Array, uid: string) => {
  const seed = Buffer.from(hkdfSync("sha256", master, uid, "longwick link certificate", 32));
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" });
};

/** What whoever knows the master key pins, without having to read anything back. */
export const certificatePin = (master: Uint8Array, uid: string): string => pinOf(privateKey(master, uid));
const pinOf = (key: ReturnType<typeof createPrivateKey>): string =>
  createHash("sha256")
    .update(createPublicKey(key).export({ format: "der", type: "spki" }))
    .digest("base64");

/** The session's self-signed certificate. Every part of it follows from the master key and the uid: any server makes the same one. */
export const driverCertificate = (master: Uint8Array, uid: string): DriverCertificate => {
  const key = privateKey(master, uid);
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(UTF8_STRING, Buffer.from(`longwick driver ${uid}`)))));
  const serial = der(INTEGER, Buffer.concat([Buffer.from([0x01]), createHash("sha256").update(uid).digest().subarray(0, 15)]));
  const publicKey = createPublicKey(key).export({ format: "der", type: "spki" });
  const body = der(SEQUENCE, VERSION_3, serial, ED25519, name, ALWAYS, name, publicKey);
  const certificate = der(SEQUENCE, body, ED25519, der(BIT_STRING, NO_UNUSED_BITS, sign(null, body, key)));
  return { key: String(key.export({ format: "pem", type: "pkcs8" })), certificate: pem("CERTIFICATE", certificate), pin: pinOf(key) };
};
