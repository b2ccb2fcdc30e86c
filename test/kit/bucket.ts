import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { CreateBucketCommand, ListMultipartUploadsCommand, S3Client } from "@aws-sdk/client-s3";
import type { BucketSettings } from "../../src/uploads/bucket.ts";
import { s3Python } from "./python.ts";
import { until } from "./until.ts";

/** What the SDK is told in a test's own process and in a server's: moto takes any credentials. */
export const BUCKET_ENV = { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test", AWS_EC2_METADATA_DISABLED: "true" };

const READY_MS = 60_000;

/** A real S3 API server (moto) in a process of its own, with a bucket. */
export class Bucket implements AsyncDisposable {
  readonly settings: BucketSettings & { readonly endpoint: string };
  readonly client: S3Client;
  readonly #server: ChildProcess;

  private constructor(server: ChildProcess, endpoint: string, bucket: string) {
    this.#server = server;
    this.settings = { bucket, prefix: "team/uploads", endpoint, region: null };
    this.client = new S3Client({
      endpoint,
      forcePathStyle: true,
      region: "us-east-1",
      credentials: { accessKeyId: "x", secretAccessKey: "x" },
    });
  }

  static async start(port = 0): Promise<Bucket> {
    const server = spawn(await s3Python(), ["-m", "moto.server", "-H", "127.0.0.1", "-p", String(port)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let written = "";
    for (const stream of [server.stdout, server.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (written += text));
    const endpoint = await until("the S3 server says where it listens", READY_MS, () => {
      if (server.exitCode !== null) throw new Error(`the S3 server ended:\n${written}`);
      return /http:\/\/127\.0\.0\.1:\d+/.exec(written)?.[0];
    });
    const bucket = new Bucket(server, endpoint, "longwick-test");
    await bucket.client.send(new CreateBucketCommand({ Bucket: "longwick-test" }));
    return bucket;
  }

  /** As `--upload-bucket`. */
  get url(): string {
    return `s3://${this.settings.bucket}/${this.settings.prefix}`;
  }

  /** Keys of uploads in parts that are not finished. */
  async unfinished(): Promise<readonly string[]> {
    const { Uploads = [] } = await this.client.send(new ListMultipartUploadsCommand({ Bucket: this.settings.bucket }));
    return Uploads.map(({ Key = "" }) => Key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.destroy();
    if (this.#server.exitCode !== null) return;
    this.#server.kill("SIGKILL");
    await once(this.#server, "exit");
  }
}
