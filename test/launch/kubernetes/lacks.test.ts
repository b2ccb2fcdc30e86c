import { expect, test } from "vitest";
import { ApiError } from "../../../src/launch/kubernetes/api.ts";
import { isLack, readLack } from "../../../src/launch/kubernetes/lacks.ts";

const FORBIDDEN = 'is forbidden: User "system:serviceaccount:lw:server" cannot';

test.each([
  [`pods ${FORBIDDEN} create resource "pods" in API group "" in the namespace "team"`, "create pods in namespace team"],
  [
    `pods "d" ${FORBIDDEN} get resource "pods/log" in API group "" in the namespace "team": a webhook says no`,
    "get pods/log in namespace team",
  ],
  [
    `x.example.com ${FORBIDDEN} create resource "x" in API group "example.com" in the namespace "team"`,
    "create x.example.com in namespace team",
  ],
  [`nodes ${FORBIDDEN} list resource "nodes" in API group "" at the cluster scope`, "list nodes in the cluster"],
])("a right that is missing is named with who lacks it: %s", (message, what) => {
  const error = new ApiError(403, "Forbidden", message, 0);
  expect(isLack(error)).toBe(true);
  expect(readLack(error)).toEqual({
    unknown: false,
    reason: `The server's account system:serviceaccount:lw:server may not ${what}. Whoever runs the server can give it that right (docs/kubernetes.md has the Roles).`,
  });
});

test("credentials that are not taken are no lack of a right", () => {
  const error = new ApiError(401, "Unauthorized", "Unauthorized", 0);
  expect(isLack(error)).toBe(true);
  expect(readLack(error)).toMatchObject({ unknown: true, reason: expect.stringMatching(/does not accept .* \(Unauthorized\)/) });
});

test("what is refused for its own sake is none, unless nothing was asked for but to go on", () => {
  const error = new ApiError(403, "Forbidden", 'pods "d" is forbidden: violates PodSecurity "restricted:latest": hostPath', 0);
  expect(isLack(error)).toBe(false);
  expect(readLack(error)?.reason).toMatch(/^Kubernetes refuses what the server does for the driver \(Forbidden\): .*PodSecurity/);
  expect(readLack(new ApiError(422, "Invalid", "no", 0))).toBeNull();
});
