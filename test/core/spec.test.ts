import { expect, test } from "vitest";
import { redactRequest } from "../../src/core/schedule.ts";
import { NO_SPEC, REDACTED, redactSpec } from "../../src/core/spec.ts";
import { uploadsIn, uploadsInRequest } from "../../src/core/upload-uri.ts";

test("arguments that are secret by their name are not shown", () => {
  const args = ["--token", "abc", "--api-token=abc", "token=", "in=s3a://token-bucket/x", "--password", "--verbose", "password.txt", "x"];
  const retry = { maxAttempts: 1, backoffMs: 0, on: [] };
  const { application } = redactSpec({ ...NO_SPEC, application: { file: "file:///a.py", className: null, args, retry } });
  expect(application?.args).toEqual([
    ...["--token", REDACTED, `--api-token=${REDACTED}`, "token=", "in=s3a://token-bucket/x"],
    ...["--password", "--verbose", "password.txt", "x"],
  ]);
});

test("uploads are known by their conf key whatever they are called, in claims and in schedules; other URIs that speak of a secret are not shown", () => {
  const id = "0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b34";
  const conf = { "spark.jars": `upload:/${id}/tokenizer.jar, hdfs:///b.jar`, "spark.files": "https://x/?token=abc" };
  expect(redactSpec({ ...NO_SPEC, conf }).conf).toEqual({ ...conf, "spark.files": REDACTED });
  expect(uploadsIn(redactSpec({ ...NO_SPEC, conf })).map((upload) => upload.id)).toEqual([id]);
  expect(uploadsInRequest(redactRequest({ file: "hdfs:///a.py", conf })).map((upload) => upload.id)).toEqual([id]);
});
