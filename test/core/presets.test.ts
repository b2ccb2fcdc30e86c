import { describe, expect, test } from "vitest";
import { Access } from "../../src/core/access.ts";
import { type Preset, Presets } from "../../src/core/presets.ts";
import { presetOf } from "../launch/contract.ts";

const RULES = { superusers: ["root"], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] };
const presets = (all: readonly Preset[], defaultName: string | null = null) => new Presets(all, defaultName, new Access(RULES));
const user = (name: string | null) => ({ name, remote: null });

const SMALL = presetOf({ name: "small" });
const LARGE = presetOf({ name: "large", users: ["ann"] });

describe("presets", () => {
  test("are for those they name, for superusers and for everybody where nobody logs in", () => {
    const both = presets([SMALL, LARGE]);
    const names = (name: string | null) => both.list(user(name)).map((preset) => preset.name);
    expect([names("ann"), names("bob"), names("root"), names(null)]).toEqual([
      ["small", "large"],
      ["small"],
      ["small", "large"],
      ["small", "large"],
    ]);
    expect(presets([presetOf({ name: "all", users: ["*"] })]).list(user("bob"))).toHaveLength(1);
  });

  test("are chosen by name; a session that names none has the default, or none", () => {
    expect(presets([SMALL, LARGE]).choose("small", user("bob"))).toBe(SMALL);
    expect(presets([SMALL, LARGE]).choose(null, user("bob"))).toBeNull();
    expect(presets([SMALL, LARGE], "small").choose(null, user("bob"))).toBe(SMALL);
    expect(presets([SMALL, LARGE], "small").choose("large", user("ann"))).toBe(LARGE);
    expect([SMALL, LARGE].map((preset) => presets([SMALL, LARGE], "small").isDefault(preset))).toEqual([true, false]);
  });

  test.each([
    [[SMALL, LARGE], "smal", "ann", "SPEC_REFUSED", "Rejected, Reason: Unknown preset 'smal': there are small, large"],
    [[SMALL, LARGE], "smal", "bob", "SPEC_REFUSED", "Rejected, Reason: Unknown preset 'smal': there are small"],
    [[], "small", "bob", "SPEC_REFUSED", "Rejected, Reason: Unknown preset 'small': there are none for you"],
    [[SMALL, LARGE], "large", "bob", "FORBIDDEN", "User 'bob' may not use preset 'large': there are small."],
    [[LARGE], "large", "bob", "FORBIDDEN", "User 'bob' may not use preset 'large': there are none for you."],
  ])("%# are refused with those there are", (all, name, caller, code, message) => {
    expect(() => presets(all).choose(name, user(caller))).toThrow(expect.objectContaining({ code, message }));
  });

  test("a default that is not for the caller is refused like one that was named: it would be a way around its limits", () => {
    expect(() => presets([SMALL, LARGE], "large").choose(null, user("bob"))).toThrow("may not use preset 'large'");
  });
});
