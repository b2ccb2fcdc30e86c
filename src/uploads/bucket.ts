import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  paginateListObjectsV2,
  S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { Problem } from "../core/problems.ts";
import type { StoredObject, UploadStore } from "../core/upload-store.ts";
import { full, unreachable } from "./faults.ts";

export interface BucketSettings {
  readonly bucket: string;
  /** Without slashes at its ends; empty: the whole bucket is ours. */
  readonly prefix: string;
  /** Of a store that is not AWS's; null: AWS's own. */
  readonly endpoint: string | null;
  /** null: as AWS's tools find it. */
  readonly region: string | null;
}

/** Parts of a large object on their way, and how many at once: what one upload takes of memory. */
const PART_BYTES = 8 * 1024 * 1024;
const PARTS_AT_ONCE = 2;
const ATTEMPTS = 3;
const CONNECT_MS = 5_000;
const ANSWER_MS = 60_000;

/** A bucket of AWS or of a store that speaks S3. Credentials are found as AWS's tools find them; nothing is asked before the first use. */
export const openBucketStore = (settings: BucketSettings): UploadStore => new BucketStore(settings);

class BucketStore implements UploadStore {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;

  constructor({ bucket, prefix, endpoint, region }: BucketSettings) {
    this.#bucket = bucket;
    this.#prefix = prefix === "" ? "" : `${prefix}/`;
    this.#client = new S3Client({
      ...(region === null ? {} : { region }),
      // Stores other than AWS's have their buckets in the path and need not know of newer checksums.
      ...(endpoint === null ? {} : { endpoint, forcePathStyle: true, region: region ?? "us-east-1" }),
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      maxAttempts: ATTEMPTS,
      requestHandler: { connectionTimeout: CONNECT_MS, requestTimeout: ANSWER_MS },
    });
  }

  list(segment: string | null, signal: AbortSignal): Promise<readonly StoredObject[]> {
    return this.#faults(async () => {
      const asked = { Bucket: this.#bucket, Prefix: this.#prefix + (segment === null ? "" : `${segment}/`) };
      const found: StoredObject[] = [];
      for await (const page of paginateListObjectsV2({ client: this.#client }, asked, { abortSignal: signal }))
        for (const { Key = "", Size = 0, LastModified } of page.Contents ?? [])
          found.push({ key: Key.slice(this.#prefix.length), bytes: Size, changedMs: LastModified?.getTime() ?? 0 });
      return found;
    });
  }

  put(key: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    return this.#faults(async () => {
      const abortController = new AbortController();
      const abort = () => abortController.abort(signal.reason);
      signal.throwIfAborted();
      signal.addEventListener("abort", abort, { once: true });
      try {
        await new Upload({
          client: this.#client,
          params: { ...this.#at(key), Body: Readable.from(content, { objectMode: false }) },
          partSize: PART_BYTES,
          queueSize: PARTS_AT_ONCE,
          abortController,
        }).done();
      } finally {
        signal.removeEventListener("abort", abort);
      }
    });
  }

  read(key: string, fromByte: number, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | null> {
    return this.#faults(async () => {
      const range = fromByte === 0 ? {} : { Range: `bytes=${fromByte}-` };
      const answer = await this.#client
        .send(new GetObjectCommand({ ...this.#at(key), ...range }), { abortSignal: signal })
        .catch(orMissing);
      // In Node the SDK's body is a stream of Node's.
      return answer === null ? null : this.#content(answer.Body as Readable);
    });
  }

  remove(key: string, signal: AbortSignal): Promise<void> {
    return this.#faults(async () => {
      await this.#client.send(new DeleteObjectCommand(this.#at(key)), { abortSignal: signal });
    });
  }

  pathOf(): null {
    return null;
  }

  sweep(beforeMs: number, signal: AbortSignal): Promise<void> {
    return this.#faults(async () => {
      const Bucket = this.#bucket;
      let from: Pick<ListMultipartUploadsCommandOutput, "NextKeyMarker" | "NextUploadIdMarker" | "IsTruncated"> | null = null;
      do {
        const { NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = from ?? {};
        const page: ListMultipartUploadsCommandOutput = await this.#client.send(
          new ListMultipartUploadsCommand({ Bucket, Prefix: this.#prefix, KeyMarker, UploadIdMarker }),
          { abortSignal: signal },
        );
        for (const { Key, UploadId, Initiated } of page.Uploads ?? [])
          if (Initiated !== undefined && Initiated.getTime() < beforeMs)
            await this.#client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }), { abortSignal: signal });
        from = page;
      } while (from.IsTruncated === true);
    });
  }

  close(): void {
    this.#client.destroy();
  }

  #at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }

  async *#content(body: Readable): AsyncGenerator<Uint8Array> {
    try {
      yield* body;
    } catch (error) {
      throw this.#fault(error);
    }
  }

  async #faults<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#fault(error);
    }
  }

  /** The store's refusals as Problems; a caller's leaving and what its content throws stay what they are. */
  #fault(error: unknown): unknown {
    if (error instanceof Problem || !(error instanceof Error)) return error;
    if (error instanceof S3ServiceException) {
      if (error.$metadata.httpStatusCode === 507 || FULL.has(error.name)) return full(error, "its quota is used up");
      return unreachable(error, `bucket ${this.#bucket} answers ${error.name}`);
    }
    if (error.name === "AbortError") return error;
    const why = WORDS.get(error.name) ?? ("code" in error ? String(error.code) : error.message);
    return unreachable(error, `bucket ${this.#bucket}: ${why}`);
  }
}

/** Words of several stores for one thing. */
const FULL: ReadonlySet<string> = new Set(["QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"]);
const WORDS: ReadonlyMap<string, string> = new Map([["CredentialsProviderError", "no credentials were found"]]);

const orMissing = (error: unknown): null => {
  if (error instanceof S3ServiceException && (error.name === "NoSuchKey" || error.name === "NotFound")) return null;
  throw error;
};
