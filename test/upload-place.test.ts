import { expect, test } from "vitest";
import { loadConfig } from "../src/config.ts";
import { uploadPlace } from "../src/upload-place.ts";

const placeOf = (...flags: readonly string[]) => uploadPlace(loadConfig(["--runtime-dir=/run/lw", ...flags], {}, "/").config);

test.each([
  [[], { directory: "/run/lw/uploads" }],
  [["--upload-dir=/data"], { directory: "/data" }],
  [["--launcher=kubernetes"], null],
  [["--launcher=kubernetes", "--upload-dir=/data"], { directory: "/data" }],
  [["--upload-bucket=s3://team"], { bucket: "team", prefix: "", endpoint: null, region: null }],
  [
    ["--upload-bucket=s3://team-a/lw/dev/", "--upload-endpoint=https://minio:9000", "--upload-region=eu-central-1"],
    { bucket: "team-a", prefix: "lw/dev", endpoint: "https://minio:9000", region: "eu-central-1" },
  ],
])("%j keeps uploads in %j", (flags, place) => {
  expect(placeOf(...flags)).toEqual(place);
});

test.each([
  [["--upload-dir=/data", "--upload-bucket=s3://team"], "give one of them"],
  [["--upload-endpoint=http://minio:9000"], "are for an --upload-bucket"],
  [["--upload-bucket=team"], "--upload-bucket"],
  [["--upload-bucket=s3://A_B"], "--upload-bucket"],
  [["--upload-bucket=s3://team", "--upload-endpoint=minio:9000"], "--upload-endpoint"],
])("%j is refused", (flags, complaint) => {
  expect(() => placeOf(...flags)).toThrow(complaint);
});
