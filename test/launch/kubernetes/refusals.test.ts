import { expect, test } from "vitest";
import { ApiError } from "../../../src/launch/kubernetes/api.ts";
import { readRefusal } from "../../../src/launch/kubernetes/refusals.ts";

const forbidden = (why: string) => readRefusal(new ApiError(403, "Forbidden", `pods "d" is forbidden: ${why}`, 0));
const quota = (requested: string, used: string, limited: string) =>
  forbidden(`exceeded quota: team, requested: ${requested}, used: ${used}, limited: ${limited}`);

test.each([
  ["pods=1", "pods=4", "pods=4"],
  ["limits.memory=1434Mi,pods=1", "limits.memory=1Gi,pods=1", "limits.memory=2Gi,pods=9"],
  ["requests.cpu=500m", "requests.cpu=1900m", "requests.cpu=2"],
  ["requests.nvidia.com/gpu=1", "requests.nvidia.com/gpu=1", "requests.nvidia.com/gpu=1"],
  ["something=new", "something=odd", "something=else"],
])("a quota that others use up (%s of %s, %s) is waited for", (requested, used, limited) => {
  expect(quota(requested, used, limited)).toEqual({
    passing: true,
    reason: expect.stringMatching(/quota is used up: .*exceeded quota: team/),
  });
});

test.each([
  ["pods=1", "pods=0", "pods=0"],
  ["limits.memory=1434Mi,pods=1", "limits.memory=0,pods=0", "limits.memory=1Gi,pods=9"],
  ["requests.cpu=2500m", "requests.cpu=0", "requests.cpu=2"],
  ["requests.memory=2G", "requests.memory=0", "requests.memory=1Gi"],
])("a quota that is smaller than the driver (%s of %s, %s) is not", (requested, used, limited) => {
  expect(quota(requested, used, limited)).toEqual({
    passing: false,
    reason: expect.stringContaining("larger than the namespace's whole quota"),
  });
});

test("any other refusal is told in the words of Kubernetes", () => {
  expect(forbidden("failed quota: team: must specify limits.cpu for: driver")).toEqual({
    passing: false,
    reason: 'Kubernetes refused the driver (Forbidden): pods "d" is forbidden: failed quota: team: must specify limits.cpu for: driver',
  });
  expect(readRefusal(new ApiError(400, "", "no", 0)).reason).toBe("Kubernetes refused the driver (400): no");
});
