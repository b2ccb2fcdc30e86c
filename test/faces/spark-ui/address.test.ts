import { describe, expect, test } from "vitest";
import { uiAddress } from "../../../src/faces/spark-ui/address.ts";

describe("an address below a session's UI", () => {
  test.each([
    ["/sessions/0/ui", { ticket: "", path: "/", query: "", kills: false }],
    ["/sessions/0/ui/", { ticket: "", path: "/", query: "", kills: false }],
    ["//sessions//0//ui/jobs/?id=%31&x", { ticket: "", path: "/jobs/", query: "?id=%31&x", kills: false }],
    ["/sessions/ui/ui/ui/", { ticket: "", path: "/ui/", query: "", kills: false }],
    ["/sessions/0/ui/~T-_/api/v1/a%20b", { ticket: "~T-_", path: "/api/v1/a%20b", query: "", kills: false }],
    ["/sessions/0/ui/~T?a", { ticket: "~T", path: "/", query: "?a", kills: false }],
    ["/sessions/0/ui/~/jobs", { ticket: "~", path: "/jobs", query: "", kills: false }],
    [
      "/sessions/0/ui/a?token=x&b=%26token=y&TOKEN&access_token=z&tokens=1",
      { ticket: "", path: "/a", query: "?b=%26token=y&tokens=1", kills: false },
    ],
    ["/sessions/0/ui/a?token=x", { ticket: "", path: "/a", query: "", kills: false }],
    ["/sessions/0/ui/jobs/job/?id=1", { ticket: "", path: "/jobs/job/", query: "?id=1", kills: false }],
    ["/sessions/0/ui/jobs/job/kills", { ticket: "", path: "/jobs/job/kills", query: "", kills: false }],
    ["/sessions/0/ui/jobs/job/kill", { ticket: "", path: "/jobs/job/kill", query: "", kills: true }],
    ["/sessions/0/ui/~T/stages/stage/kill/?id=1", { ticket: "~T", path: "/stages/stage/kill/", query: "?id=1", kills: true }],
    ["/sessions/0/ui/jobs/job/kill/below", { ticket: "", path: "/jobs/job/kill/below", query: "", kills: true }],
    ["/sessions/0/ui/%6aobs%2fjob/%6bill", { ticket: "", path: "/%6aobs%2fjob/%6bill", query: "", kills: true }],
  ])("%s is read", (url, address) => {
    expect(uiAddress(url)).toEqual(address);
  });

  test.each([
    ["/sessions/0/ui//jobs//job/kill"],
    ["/sessions/0/ui/jobs/../jobs/job/kill/?id=1"],
    ["/sessions/0/ui/jobs/%2e%2e/api"],
    ["/sessions/0/ui/.."],
    ["/sessions/0/ui/jobs/."],
    ["/sessions/0/ui/jobs/.//job"],
    ["/sessions/0/ui/jobs/./job/kill"],
    ["/sessions/0/ui/jobs;a=b/job/kill/?id=1"],
    ["/sessions/0/ui/jobs%3Ba/job/kill/?id=1"],
    ["/sessions/0/ui/%256aobs/"],
    ["/sessions/0/ui/jobs%5cjob"],
    ["/sessions/0/ui/a%0d%0ab"],
    ["/sessions/0/ui/%ff"],
    ["/sessions/0/ui/%"],
    ["/sessions/0/uis"],
    ["/sessions/0/u%69/"],
    ["/sessions"],
  ])("%s is none, or one that Spark may read otherwise", (url) => {
    expect(() => uiAddress(url)).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
  });
});
