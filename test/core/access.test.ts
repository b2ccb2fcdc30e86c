import { describe, test } from "vitest";
import { Access, type Caller } from "../../src/core/access.ts";

const access = new Access({
  ...{ superusers: ["root"], viewUsers: ["viewer"], modifyUsers: ["operator"], allowedUsers: ["ann", "bob", "viewer", "operator"] },
  impersonators: ["gateway"],
});
const caller = (name: string | null): Caller => ({ name, remote: null });
const session = { owner: "ann", proxyUser: "etl" };

describe("who may", () => {
  test.for([
    ["ann", true, true],
    ["etl", true, true],
    ["bob", false, false],
    ["viewer", true, false],
    ["operator", true, true],
    ["root", true, true],
    [null, true, true],
  ] as const)("%s: view %s, modify %s", ([name, view, modify], { expect }) => {
    expect(access.may(caller(name), "view", session)).toBe(view);
    expect(access.may(caller(name), "modify", session)).toBe(modify);
  });

  test("only those on the list, and superusers, may use the server", ({ expect }) => {
    expect(() => access.checkAllowed(caller("mallory"))).toThrow("not allowed to use");
    for (const name of ["ann", "root"]) access.checkAllowed(caller(name));
  });

  test("only impersonators and superusers may name another proxy user", ({ expect }) => {
    for (const name of ["gateway", "root"]) access.checkProxyUser(caller(name), "bob");
    access.checkProxyUser(caller("bob"), "bob");
    access.checkProxyUser(caller("bob"), null);
    expect(() => access.checkProxyUser(caller("bob"), "ann")).toThrow("User 'bob' is not allowed to impersonate 'ann'");
    expect(() => access.checkProxyUser(caller(null), "ann")).toThrow("Without authentication nobody is allowed to impersonate 'ann'");
  });
});
