import { expect, test } from "vitest";
import { NO_SPEC, REDACTED, redactSpec } from "../../src/core/spec.ts";

test("arguments that are secret by their name are not shown", () => {
  const args = ["--token", "abc", "--api-token=abc", "token=", "in=s3a://token-bucket/x", "--password", "--verbose", "password.txt", "x"];
  const retry = { maxAttempts: 1, backoffMs: 0, on: [] };
  const { application } = redactSpec({ ...NO_SPEC, application: { file: "file:///a.py", className: null, args, retry } });
  expect(application?.args).toEqual([
    ...["--token", REDACTED, `--api-token=${REDACTED}`, "token=", "in=s3a://token-bucket/x"],
    ...["--password", "--verbose", "password.txt", "x"],
  ]);
});
