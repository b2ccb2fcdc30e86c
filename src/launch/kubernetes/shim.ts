import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32, deflateRawSync } from "node:zlib";

/** 1980-01-01, the first day there is in a zip file: the same sources make the same bytes. */
const DOS_DATE = 0x21;
const VERSION = 20;
const UTF8_NAMES = 0x0800;
const DEFLATED = 8;
const LOCAL_FILE = 0x04034b50;
const CENTRAL_FILE = 0x02014b50;
const CENTRAL_END = 0x06054b50;

interface Entry {
  readonly name: string;
  readonly content: Buffer;
}

/** The Python package spark_shim as one zip file, from which Python imports (PEP 273). */
export const packShim = async (directory: string): Promise<Uint8Array> => {
  const names = await readdir(join(directory, "spark_shim"), { recursive: true });
  const sources = names.filter((name) => name.endsWith(".py")).sort();
  if (sources.length === 0) throw new Error(`there is no Python package spark_shim in ${directory}`);
  return zip(
    await Promise.all(
      sources.map(async (name) => ({ name: `spark_shim/${name}`, content: await readFile(join(directory, "spark_shim", name)) })),
    ),
  );
};

const zip = (entries: readonly Entry[]): Buffer => {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content } of entries) {
    const bytes = Buffer.from(name);
    const packed = deflateRawSync(content, { level: 9 });
    // Version, flags, method, time, date, checksum, sizes, length of the name, no extra field.
    const common = Buffer.alloc(26);
    common.writeUInt16LE(VERSION, 0);
    common.writeUInt16LE(UTF8_NAMES, 2);
    common.writeUInt16LE(DEFLATED, 4);
    common.writeUInt16LE(DOS_DATE, 8);
    common.writeUInt32LE(crc32(content), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(content.length, 18);
    common.writeUInt16LE(bytes.length, 22);
    const local = Buffer.concat([uint32(LOCAL_FILE), common, bytes, packed]);
    // Comment, disk, attributes: none; then where the file's own header is.
    directory.push(Buffer.concat([uint32(CENTRAL_FILE), uint16(VERSION), common, Buffer.alloc(10), uint32(offset), bytes]));
    bodies.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const count = uint16(entries.length);
  const end = Buffer.concat([uint32(CENTRAL_END), Buffer.alloc(4), count, count, uint32(central.length), uint32(offset), uint16(0)]);
  return Buffer.concat([...bodies, central, end]);
};

const uint16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
};
const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
