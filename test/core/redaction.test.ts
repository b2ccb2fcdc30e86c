import { expect, test } from "vitest";
import { credentialsIn, REDACTED, redactAddresses, redactSpec } from "../../src/core/redaction.ts";
import { redactRequest } from "../../src/core/schedule.ts";
import { NO_SPEC } from "../../src/core/spec.ts";
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

test.each([
  ["https://ada:hush@host/x.jar", `https://${REDACTED}@host/x.jar`],
  ["https://hush@host/x.jar#name", `https://${REDACTED}@host/x.jar#name`],
  ["s3a://AKIA:hush/+@bucket", `s3a://${REDACTED}@bucket`],
  ["s3a://AKIA:hush@bucket/x.jar", `s3a://${REDACTED}@bucket/x.jar`],
  [
    "https://b.s3.amazonaws.com/x.jar?X-Amz-Date=1&X-Amz-Credential=hush&X-Amz-Security-Token=hush&X-Amz-Signature=hush",
    `https://b.s3.amazonaws.com/x.jar?X-Amz-Date=1&X-Amz-Credential=${REDACTED}&X-Amz-Security-Token=${REDACTED}&X-Amz-Signature=${REDACTED}`,
  ],
  ["https://a.blob.core.windows.net/c/x.zip?sv=2&sig=hush%3D#env", `https://a.blob.core.windows.net/c/x.zip?sv=2&sig=${REDACTED}#env`],
  ["https://git/x.jar?private_token=hush", `https://git/x.jar?private_token=${REDACTED}`],
  ["abfss://container@account.dfs.core.windows.net/x.jar", "abfss://container@account.dfs.core.windows.net/x.jar"],
  ["hdfs://ada@name:8020/x?design=1&v=2", "hdfs://ada@name:8020/x?design=1&v=2"],
  ["https://host:8443/x@y.jar", "https://host:8443/x@y.jar"],
  ["file:///libs/tokenizer.jar", "file:///libs/tokenizer.jar"],
])("of %s the credentials alone are not shown", (uri, shown) => {
  expect(redactAddresses(uri)).toBe(shown);
  expect(redactAddresses(shown)).toBe(shown);
  const credentials = Object.entries(credentialsIn([uri]));
  expect(credentials.reduce((text, [credential, instead]) => text.replaceAll(credential, instead), uri)).toBe(shown);
});

test("a spec is shown without the credentials of its addresses, wherever they are; uploads beside them stay known", () => {
  const secret = "https://ada:hush@host/x.jar?sig=hush";
  const upload = "upload:/0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b34/x.jar";
  const retry = { maxAttempts: 1, backoffMs: 0, on: [] };
  const lists = { jars: [secret], pyFiles: [secret], files: [secret], archives: [`${secret}#x`] };
  const conf = { "spark.jars": `${secret},${upload}`, "spark.jars.repositories": `${secret},https://b:hush@host/maven` };
  const application = { file: secret, className: null, args: ["--from", secret, `--to=${secret}`], retry };
  const shown = redactSpec({ ...NO_SPEC, ...lists, conf, application });
  expect(JSON.stringify(shown)).not.toContain("hush");
  expect(shown.jars).toEqual([`https://${REDACTED}@host/x.jar?sig=${REDACTED}`]);
  expect(uploadsIn(shown)).toHaveLength(1);
  const request = redactRequest({ ...lists, conf, file: secret, args: application.args, numExecutors: 2 });
  expect(JSON.stringify(request)).not.toContain("hush");
  expect(request).toMatchObject({ numExecutors: 2, jars: shown.jars });
});
