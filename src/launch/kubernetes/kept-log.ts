import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import type { Claim } from "../../core/ports.ts";
import { type Api, isStatus } from "./api.ts";
import type { ConfigMap } from "./claim-reading.ts";
import type { NumberedLines } from "./log-end.ts";
import { claimName, logName, sessionLabels } from "./names.ts";

/** A ConfigMap holds 1 MiB, a third of which base64 takes. */
const LIMIT_BYTES = 700 * 1024;
const KEEP_MS = 30_000;
/** So many logs are held at once, of as many as end at the same moment. */
const AT_ONCE = 2;
/** Whoever reads a log reads it page by page. */
const REMEMBERED = 4;

interface KeptLog extends ConfigMap {
  readonly binaryData?: Readonly<Record<string, string>>;
}
const NOTHING: NumberedLines = { from: 0, lines: [] };

/** What applications wrote, beside their claims, for as long as those are there: a pod's log goes with the pod. */
export class KeptLogs {
  readonly #api: Api;
  readonly #namespace: string;
  readonly #instance: string;
  readonly #read = new Map<string, NumberedLines>();
  readonly #keeping = new Set<Promise<unknown>>();

  constructor(api: Api, namespace: string, instance: string) {
    this.#api = api;
    this.#namespace = namespace;
    this.#instance = instance;
  }

  /**
   * Keeps the last lines of a log that there is room for, and answers what it read of it; whatever was kept of the claim before goes. null:
   * there is nothing.
   * @throws Error when it cannot be written down
   */
  async keep(claim: Claim, log: () => Promise<NumberedLines>, signal: AbortSignal): Promise<NumberedLines | null> {
    while (this.#keeping.size >= AT_ONCE) await Promise.race(this.#keeping);
    const keeping = this.#keep(claim, log, signal);
    const settled = keeping.then(
      () => undefined,
      () => undefined,
    );
    this.#keeping.add(settled);
    void settled.then(() => this.#keeping.delete(settled));
    return keeping;
  }

  async #keep(claim: Claim, log: () => Promise<NumberedLines>, signal: AbortSignal): Promise<NumberedLines | null> {
    const read = await log();
    const { from, lines } = read;
    if (lines.length === 0) return null;
    const within = AbortSignal.any([signal, AbortSignal.timeout(KEEP_MS)]);
    let kept = lines;
    let packed = await pack(kept);
    while (packed.length > LIMIT_BYTES) {
      kept = kept.slice(Math.ceil(kept.length * (1 - (0.9 * LIMIT_BYTES) / packed.length)));
      packed = await pack(kept);
    }
    await this.#store(claim, packed, from + lines.length - kept.length, within);
    return read;
  }

  async #store(claim: Claim, packed: Buffer, from: number, within: AbortSignal): Promise<void> {
    const path = `api/v1/namespaces/${this.#namespace}/configmaps`;
    const owner = await this.#api.get<ConfigMap>(`${path}/${claimName(this.#instance, claim.id)}`, within);
    const name = logName(this.#instance, claim.uid);
    const content = { binaryData: { "log.gz": packed.toString("base64") }, data: { from: String(from) } };
    const { uid, name: ownerName } = owner.metadata;
    const metadata = {
      ...{ name, labels: sessionLabels(this.#instance, claim.uid, "log") },
      ownerReferences: [{ apiVersion: "v1", kind: "ConfigMap", name: ownerName, uid }],
    };
    this.#read.delete(claim.uid);
    try {
      await this.#api.create(path, { metadata, ...content }, within);
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
      await this.#api.merge(`${path}/${name}`, content, within);
    }
  }

  async lines({ uid }: Claim, from: number, count: number): Promise<readonly string[]> {
    const kept = this.#read.get(uid) ?? (await this.#fetch(uid));
    this.#read.delete(uid);
    this.#read.set(uid, kept);
    const [oldest] = this.#read.keys();
    if (this.#read.size > REMEMBERED && oldest !== undefined) this.#read.delete(oldest);
    return kept.lines.slice(Math.max(0, from - kept.from), Math.max(0, from + count - kept.from));
  }

  async #fetch(uid: string): Promise<NumberedLines> {
    try {
      const path = `api/v1/namespaces/${this.#namespace}/configmaps/${logName(this.#instance, uid)}`;
      const { binaryData, data } = await this.#api.get<KeptLog>(path, AbortSignal.timeout(KEEP_MS));
      const text = (await promisify(gunzip)(Buffer.from(binaryData?.["log.gz"] ?? "", "base64"))).toString();
      return { from: Number(data?.["from"] ?? 0), lines: text.split("\n") };
    } catch (error) {
      if (isStatus(error, 404)) return NOTHING;
      throw error;
    }
  }
}

const pack = (lines: readonly string[]): Promise<Buffer> => promisify(gzip)(lines.join("\n"));
