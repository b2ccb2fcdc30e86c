import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type Api, isStatus } from "./api.ts";
import { KEY_BYTES, MasterKeys } from "./keys.ts";
import { instanceLabels, masterKeyName } from "./names.ts";
import type { Stored } from "./watch.ts";

interface Secret extends Stored {
  readonly data?: Readonly<Record<string, string>>;
}

/** The master key of this instance, made by whichever server comes first. */
export const readMasterKeys = async (api: Api, namespace: string, instance: string, signal: AbortSignal): Promise<MasterKeys> => {
  const name = masterKeyName(instance);
  const path = `api/v1/namespaces/${namespace}/secrets`;
  const read = () =>
    api.get<Secret>(`${path}/${name}`, signal).catch((error: unknown) => {
      if (isStatus(error, 404)) return null;
      throw error;
    });
  let secret = await read();
  if (secret === null) {
    const made = {
      metadata: { name, labels: instanceLabels(instance, "master-key") },
      type: "Opaque",
      data: { current: randomBytes(KEY_BYTES).toString("base64") },
    };
    await api.create(path, made, signal).catch((error: unknown) => {
      if (!isStatus(error, 409)) throw error;
    });
    secret = await read();
  }
  const texts = ["current", "previous"].flatMap((key) => secret?.data?.[key] ?? []);
  return masterKeys(
    texts,
    `Secret ${namespace}/${name} must hold keys of ${KEY_BYTES} bytes as 'current' and, while one is rotated, 'previous'`,
  );
};

/** A key on each line in base64, the current one first. */
export const masterKeysOfFile = async (path: string): Promise<MasterKeys> => {
  const lines = (await readFile(path, "utf8")).split(/\s+/).filter((line) => line !== "");
  return masterKeys(lines, `the master key file must hold keys of ${KEY_BYTES} bytes in base64, one a line`);
};

const masterKeys = (texts: readonly string[], otherwise: string): MasterKeys => {
  const keys = texts.map((text) => new Uint8Array(Buffer.from(text, "base64")));
  if (keys.length === 0 || keys.some((key) => key.length !== KEY_BYTES)) throw new Error(otherwise);
  return new MasterKeys(keys);
};
