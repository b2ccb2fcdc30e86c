import { CreateMultipartUploadCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { UploadStore } from "../../../src/core/upload-store.ts";
import { openBucketStore } from "../../../src/uploads/bucket.ts";
import { BUCKET_ENV, Bucket } from "../../kit/bucket.ts";
import { bytes, soon, storeContract } from "../../uploads/contract.ts";

let bucket: Bucket;
let store: UploadStore;
beforeAll(async () => {
  Object.assign(process.env, BUCKET_ENV);
  bucket = await Bucket.start();
  store = openBucketStore(bucket.settings);
});
afterAll(async () => {
  store.close();
  await bucket[Symbol.asyncDispose]();
});

storeContract(
  () => store,
  () => bucket.unfinished(),
);

test("more objects than one answer lists are all listed", { timeout: 120_000 }, async () => {
  const keys = Array.from({ length: 1_030 }, (_, index) => `many/${index}`);
  for (let at = 0; at < keys.length; at += 50) await Promise.all(keys.slice(at, at + 50).map((key) => store.put(key, bytes("x"), soon())));
  expect((await store.list("many", AbortSignal.timeout(60_000))).map(({ key }) => key).toSorted()).toEqual(keys.toSorted());
});

test("what a writer that was killed left in parts is swept once it is old", async () => {
  const { bucket: Bucket, prefix } = bucket.settings;
  await bucket.client.send(new CreateMultipartUploadCommand({ Bucket, Key: `${prefix}/half/data` }));
  // To this server every such upload began on the same day in 2010.
  await store.sweep(Date.UTC(2010, 0), soon());
  expect(await bucket.unfinished()).toEqual([`${prefix}/half/data`]);
  await store.sweep(Date.now(), soon());
  expect(await bucket.unfinished()).toEqual([]);
});

test("a bucket that is not there, and a store that does not answer, are told as that", async () => {
  const elsewhere = openBucketStore({ ...bucket.settings, bucket: "nothing-here" });
  await expect(elsewhere.list(null, soon())).rejects.toMatchObject({
    code: "STORAGE_UNREACHABLE",
    message: "The store of uploads cannot be used now: bucket nothing-here answers NoSuchBucket.",
  });
  const gone = openBucketStore({ ...bucket.settings, endpoint: "http://127.0.0.1:1" });
  await expect(gone.put("x/data", bytes("x"), soon())).rejects.toMatchObject({
    code: "STORAGE_UNREACHABLE",
    message: "The store of uploads cannot be used now: bucket longwick-test: ECONNREFUSED.",
  });
  for (const client of [elsewhere, gone]) client.close();
});
