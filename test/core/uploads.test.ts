import { mkdtempSync, readdirSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Access, type AccessRules } from "../../src/core/access.ts";
import { NO_SPEC } from "../../src/core/spec.ts";
import { readUploadUri, uploadsIn, uploadUri } from "../../src/core/upload-uri.ts";
import { type UploadRules, Uploads, uriOf } from "../../src/core/uploads.ts";
import { openDirectoryStore } from "../../src/uploads/directory.ts";
import { bytes, soon, textOf } from "../uploads/contract.ts";

const DAY = 86_400_000;
const ACCESS: AccessRules = { superusers: ["root"], viewUsers: ["eve"], modifyUsers: [], allowedUsers: [], impersonators: ["ann"] };
const as = (name: string | null) => ({ name, remote: null });

let root = "";
let now = 0;
const named = new Set<string>();
/** Servers of one store. */
const server = (rules: Partial<UploadRules> = {}): Uploads =>
  new Uploads({
    store: openDirectoryStore(root),
    access: new Access(ACCESS),
    rules: { limitBytes: 100, quotaBytes: 250, quotaFiles: 0, retentionMs: 30 * DAY, ...rules },
    clock: { now: () => now },
    named: () => named,
  });
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "lw-uploads-"));
  now = Date.now();
  named.clear();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const take = (
  uploads: Uploads,
  name = "a.whl",
  content: Uint8Array | string = "abc",
  caller: string | null = "ann",
  proxyUser: string | null = null,
) => uploads.take({ name, proxyUser }, as(caller), bytes(content), soon());
const left = (): readonly string[] =>
  readdirSync(root, { recursive: true })
    .map(String)
    .filter((path) => !/^coming$/.test(path));

describe("an upload", () => {
  test("is what was sent, with its sum, to every server", async () => {
    const upload = await take(server(), "größe 1.whl");
    expect(upload).toMatchObject({ name: "größe 1.whl", bytes: 3, owner: "ann", proxyUser: null, createdMs: now, usedMs: now });
    expect(upload.sha256).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const other = server();
    expect(await other.list(as("ann"), soon())).toEqual([upload]);
    const { sha256, content } = await other.open(upload.id, 1, soon());
    expect([sha256, await textOf(content)]).toEqual([upload.sha256, "bc"]);
    expect(await textOf((await other.open(upload.id, 3, soon())).content)).toBe("");
    expect(readUploadUri(uriOf(upload))).toEqual({ id: upload.id, name: "größe 1.whl", fragment: "" });
  });

  test.for(["../x", "a/b", "..", ".", "", "a\0b", "a\nb", "a,b", "*.jar", "a{b}", "a#b", "a\\b", "\u{D800}", "é".repeat(101)])(
    "cannot be called %j",
    async (name, { expect }) => {
      await expect(take(server(), name)).rejects.toMatchObject({ code: "INVALID", message: expect.stringMatching(/^The file's name /) });
      expect(left()).toEqual([]);
    },
  );

  test("may have any other name of 200 bytes", async () => {
    for (const name of ["é".repeat(100), ".hidden", "a b%20c;d.py", "日本.zip"]) expect((await take(server(), name)).name).toBe(name);
  });

  test("belongs to its owner and to whom it was sent for", async () => {
    const uploads = server();
    const { id } = await take(uploads, "a", "x", "ann", "bob");
    for (const name of ["ann", "bob", "root", null]) expect((await uploads.use(id, as(name), soon())).id).toBe(id);
    expect((await uploads.find(id, as("eve"), "view", soon())).id).toBe(id);
    for (const name of ["eve", "joe"]) await expect(uploads.use(id, as(name), soon())).rejects.toMatchObject({ code: "FORBIDDEN" });
    await expect(uploads.find(id, as("joe"), "view", soon())).rejects.toMatchObject({ code: "FORBIDDEN" });
    expect(await uploads.list(as("joe"), soon())).toEqual([]);
    await expect(take(uploads, "a", "x", "joe", "bob")).rejects.toMatchObject({ code: "FORBIDDEN", proxyUser: "bob" });
  });

  test.for(["", "x", "../../etc", "0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b34", "coming"])("is not found by %j", async (id, { expect }) => {
    const uploads = server();
    await expect(uploads.find(id, as(null), "view", soon())).rejects.toMatchObject({ code: "UPLOAD_NOT_FOUND" });
    await expect(uploads.open(id, 0, soon())).rejects.toMatchObject({ code: "UPLOAD_NOT_FOUND" });
  });

  test("goes when it is deleted, unless a session names it", async () => {
    const uploads = server();
    const upload = await take(uploads);
    named.add(upload.id);
    await expect(uploads.delete(upload, soon())).rejects.toMatchObject({ code: "UPLOAD_IN_USE" });
    named.clear();
    await uploads.delete(upload, soon());
    await uploads.delete(upload, soon());
    expect(left()).toEqual([]);
  });
});

describe("limits", () => {
  test("a file may have as many bytes as the limit and not one more; nothing is left of it", async () => {
    const uploads = server();
    expect((await take(uploads, "a", Buffer.alloc(100))).bytes).toBe(100);
    const before = left();
    await expect(take(uploads, "a", Buffer.alloc(101))).rejects.toMatchObject({
      code: "TOO_LARGE",
      message: expect.stringContaining("100 bytes"),
    });
    expect(left()).toEqual(before);
  });

  test("an owner may have as many bytes as the quota, others have their own, and what is deleted counts no more", async () => {
    const uploads = server();
    const [first] = [
      await take(uploads, "a", Buffer.alloc(100)),
      await take(uploads, "b", Buffer.alloc(100)),
      await take(uploads, "c", Buffer.alloc(50)),
    ];
    await expect(take(uploads, "d", "x")).rejects.toMatchObject({
      code: "OVER_QUOTA",
      message: expect.stringMatching(/more than 250 bytes.* take 250/),
    });
    await expect(take(server(), "d", "x")).rejects.toMatchObject({ code: "OVER_QUOTA" });
    await take(uploads, "d", "x", "bob");
    await take(uploads, "d", "x", null);
    await uploads.delete(first, soon());
    await take(uploads, "d", Buffer.alloc(100));
  });

  test("of two that come at once at the quota's edge one is kept, and the room of the other is free again", async () => {
    const uploads = server();
    await take(uploads, "a", Buffer.alloc(100));
    const both = await Promise.allSettled(
      ["b", "c"].map((name) => {
        const slowly = async function* () {
          for (let sent = 0; sent < 10; sent += 1) {
            await new Promise(setImmediate);
            yield Buffer.alloc(10);
          }
        };
        return uploads.take({ name, proxyUser: null }, as("ann"), slowly(), soon());
      }),
    );
    expect(both.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect(both.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "OVER_QUOTA" } });
    expect((await take(uploads, "d", Buffer.alloc(50))).bytes).toBe(50);
    await expect(take(uploads, "e", "x")).rejects.toMatchObject({ code: "OVER_QUOTA" });
  });

  test("an owner may have as many files as the quota, however small; those that come count, those that are refused do not", async () => {
    const uploads = server({ quotaFiles: 3 });
    const first = await take(uploads, "a", "");
    await take(uploads, "b", "");
    const both = await Promise.allSettled([take(uploads, "c", ""), take(uploads, "d", "")]);
    expect(both.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    const refused = {
      code: "OVER_QUOTA",
      message: "You have 3 uploads, and one user may have 3. Delete some that you do not need (GET and DELETE /uploads).",
    };
    await expect(take(server({ quotaFiles: 3 }), "d", "")).rejects.toMatchObject(refused);
    await take(uploads, "d", "", "bob");
    await uploads.delete(first, soon());
    await take(uploads, "d", "");
    await expect(take(uploads, "e", "")).rejects.toMatchObject(refused);
  });

  test("a file that is refused for its size has had no place among the files", async () => {
    const uploads = server({ quotaFiles: 1 });
    await expect(take(uploads, "big", Buffer.alloc(101))).rejects.toMatchObject({ code: "TOO_LARGE" });
    await take(uploads, "a", "");
  });

  test("0 is no quota", async () => {
    const uploads = server({ quotaBytes: 0 });
    for (let index = 0; index < 5; index += 1) await take(uploads, "a", Buffer.alloc(100));
  });
});

describe("retention", () => {
  /** As if it had been sent, used or condemned so long ago. */
  const age = (id: string, part: string, ms: number) => utimesSync(join(root, id, part), (now - ms) / 1_000, (now - ms) / 1_000);
  const aged = async (uploads: Uploads, days: number) => {
    const real = now;
    now -= days * DAY;
    const upload = await take(uploads);
    now = real;
    return upload;
  };

  test("what nobody used for too long is condemned, refused from then on, and removed ten minutes later", async () => {
    const uploads = server();
    const [old, young] = [await aged(uploads, 31), await aged(uploads, 29)];
    await uploads.tidy(soon());
    expect(await uploads.list(as("ann"), soon())).toMatchObject([{ id: young.id }]);
    await expect(uploads.use(old.id, as("ann"), soon())).rejects.toMatchObject({ code: "UPLOAD_NOT_FOUND" });
    // Whoever waits for it gets it still.
    expect(await textOf((await uploads.open(old.id, 0, soon())).content)).toBe("abc");
    await uploads.tidy(soon());
    expect(left()).toContain(`${old.id}/data`);
    age(old.id, "condemned", 10 * 60_000 + 1_000);
    await uploads.tidy(soon());
    expect(left().filter((path) => path.includes(old.id))).toEqual([]);
  });

  test("use counts as long as it is not too old", async () => {
    const uploads = server();
    const { id } = await aged(uploads, 31);
    await uploads.use(id, as("ann"), soon());
    await uploads.tidy(soon());
    expect(await uploads.list(as("ann"), soon())).toHaveLength(1);
    age(id, "used", 31 * DAY);
    await uploads.tidy(soon());
    expect(await uploads.list(as("ann"), soon())).toEqual([]);
  });

  test("what a session names stays, also when the session was made through another server just as it was condemned", async () => {
    const uploads = server();
    const { id } = await aged(uploads, 31);
    await uploads.tidy(soon());
    age(id, "condemned", DAY);
    named.add(id);
    await uploads.tidy(soon());
    expect(await uploads.list(as("ann"), soon())).toMatchObject([{ id }]);
  });

  test("what a session named for long is old only when it was not named for long", async () => {
    const uploads = server();
    const { id } = await aged(uploads, 31);
    named.add(id);
    await uploads.tidy(soon());
    named.clear();
    await uploads.tidy(soon());
    expect(await uploads.list(as("ann"), soon())).toMatchObject([{ id }]);
  });

  test("what a later release wrote down otherwise is left alone", async () => {
    const id = "0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b34";
    await openDirectoryStore(root).put(`${id}/upload.json`, bytes('{"format": 2}'), soon());
    age(id, "upload.json", 400 * DAY);
    await server().tidy(soon());
    expect(left()).toContain(`${id}/upload.json`);
  });

  test("0 keeps for ever", async () => {
    const uploads = server({ retentionMs: 0 });
    await aged(uploads, 4_000);
    await uploads.tidy(soon());
    expect(await uploads.list(as("ann"), soon())).toHaveLength(1);
  });

  test("what was never finished goes after an hour", async () => {
    const uploads = server();
    const store = openDirectoryStore(root);
    const [old, fresh] = ["0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b34", "0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b35"];
    for (const id of [old, fresh]) await store.put(`${id}/data`, bytes("half"), soon());
    age(old, "data", 61 * 60_000);
    expect(await uploads.list(as(null), soon())).toEqual([]);
    await uploads.tidy(soon());
    expect(left()).toEqual([fresh, `${fresh}/data`]);
  });
});

test("a spec's uploads are those of its lists and of the conf keys that stand for them", () => {
  const id = (last: number) => `0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b3${last}`;
  const uri = (last: number, fragment = "") => uploadUri({ id: id(last), name: "a b.zip", fragment });
  const conf = { "spark.files": `s3a://b/c, ${uri(5)}`, "spark.note": uri(6) };
  const spec = { ...NO_SPEC, jars: [uri(1)], pyFiles: [uri(2), "file:///x"], files: [uri(3)], archives: [uri(4, "#env")], conf };
  expect(uploadsIn(spec).map((upload) => [upload.id, upload.name])).toEqual([1, 2, 3, 4, 5].map((last) => [id(last), "a b.zip"]));
});
