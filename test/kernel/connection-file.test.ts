import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { addressOf, parseConnection, readConnectionFile } from "../../src/kernel/connection-file.ts";

/** As jupyter_client 8 writes it. */
const FILE = {
  shell_port: 51001,
  iopub_port: 51002,
  stdin_port: 51003,
  control_port: 51004,
  hb_port: 51005,
  ip: "127.0.0.1",
  key: "c0ffee-123",
  transport: "tcp",
  signature_scheme: "hmac-sha256",
  kernel_name: "longwick",
};

test("a connection file says where to listen and how to sign", () => {
  const connection = parseConnection(FILE);
  expect(connection).toEqual({
    transport: "tcp",
    ip: "127.0.0.1",
    ports: { shell: 51001, iopub: 51002, stdin: 51003, control: 51004, hb: 51005 },
    key: "c0ffee-123",
    hash: "sha256",
    curve: null,
  });
  expect(addressOf(connection, "control")).toBe("tcp://127.0.0.1:51004");
  expect(addressOf({ ...connection, ip: "::1" }, "hb")).toBe("tcp://[::1]:51005");
  expect(addressOf({ ...connection, transport: "ipc", ip: "/tmp/kernel-7-ipc" }, "iopub")).toBe("ipc:///tmp/kernel-7-ipc-51002");
});

test("keys for encryption are taken together", () => {
  const keys = { curve_publickey: "P".repeat(40), curve_secretkey: "S".repeat(40) };
  expect(parseConnection({ ...FILE, ...keys }).curve).toEqual({ publicKey: "P".repeat(40), secretKey: "S".repeat(40) });
  expect(() => parseConnection({ ...FILE, curve_secretkey: "S" })).toThrow("curve_publickey is missing");
});

test.for([
  [null, "it is no JSON object"],
  [{ ...FILE, hb_port: undefined }, "hb_port is missing or no port"],
  [{ ...FILE, shell_port: "51001" }, "shell_port is missing or no port"],
  [{ ...FILE, transport: "pgm" }, "transport pgm is neither tcp nor ipc"],
  [{ ...FILE, signature_scheme: "hmac-md5" }, "signature_scheme hmac-md5 is not supported: use hmac-sha256"],
  [{ ...FILE, key: 5 }, "key is missing or no text"],
] as const)("%j: %s", ([value, message]) => {
  expect(() => parseConnection(value)).toThrow(message);
});

test("a file that is not there or holds no JSON is named", () => {
  const directory = mkdtempSync(join(tmpdir(), "lw-"));
  try {
    const path = join(directory, "kernel.json");
    expect(() => readConnectionFile(path)).toThrow(`Connection file ${path}: ENOENT`);
    writeFileSync(path, '{"shell_port":');
    expect(() => readConnectionFile(path)).toThrow(`Connection file ${path}: `);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
