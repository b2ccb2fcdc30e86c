import { describe, expect, test } from "vitest";
import type { UploadStore } from "../../src/core/upload-store.ts";

export const soon = (): AbortSignal => AbortSignal.timeout(20_000);
export async function* bytes(...chunks: readonly (Uint8Array | string)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield typeof chunk === "string" ? Buffer.from(chunk) : chunk;
}
export const textOf = async (content: AsyncIterable<Uint8Array> | null): Promise<string | null> => {
  if (content === null) return null;
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
};

/** What every store of uploads must do. */
export const storeContract = (open: () => UploadStore, unfinished: () => Promise<readonly string[]>): void => {
  const keysOf = async (segment: string | null): Promise<readonly string[]> =>
    (await open().list(segment, soon())).map(({ key }) => key).toSorted();

  describe("a store", () => {
    test("gives back what was put, from any byte on, and says how large it is and since when", async () => {
      const store = open();
      const before = Date.now();
      await store.put("a1/data", bytes("hello, ", "wörld"), soon());
      await store.put("a1/used", bytes(), soon());
      expect(await textOf(await store.read("a1/data", 0, soon()))).toBe("hello, wörld");
      expect(await textOf(await store.read("a1/data", 7, soon()))).toBe("wörld");
      const listed = (await store.list("a1", soon())).toSorted((a, b) => (a.key < b.key ? -1 : 1));
      expect(listed.map(({ key, bytes: size }) => [key, size])).toEqual([
        ["a1/data", 13],
        ["a1/used", 0],
      ]);
      // Stores count in whole seconds at worst.
      for (const { changedMs } of listed) expect(Math.abs(changedMs - before)).toBeLessThan(10_000);
    });

    test("lists one segment or all, and nothing for what is not there", async () => {
      const store = open();
      await store.put("b1/data", bytes("1"), soon());
      await store.put("b2/data", bytes("2"), soon());
      expect(await keysOf("b1")).toEqual(["b1/data"]);
      expect((await keysOf(null)).filter((key) => key.startsWith("b"))).toEqual(["b1/data", "b2/data"]);
      expect(await keysOf("b")).toEqual([]);
      expect(await store.read("b3/data", 0, soon())).toBeNull();
    });

    test("replaces and removes; removing what is not there is nothing", async () => {
      const store = open();
      await store.put("c1/data", bytes("old and long"), soon());
      await store.put("c1/data", bytes("new"), soon());
      expect(await textOf(await store.read("c1/data", 0, soon()))).toBe("new");
      await store.remove("c1/data", soon());
      await store.remove("c1/data", soon());
      expect(await keysOf("c1")).toEqual([]);
    });

    test("keeps nothing of what breaks off, small or large, and throws what broke it", async () => {
      const store = open();
      for (const size of [10, 20 * 1024 * 1024]) {
        const broken = async function* () {
          yield Buffer.alloc(size);
          throw new Error("the sender is gone");
        };
        await expect(store.put("d1/data", broken(), soon())).rejects.toThrow("the sender is gone");
        expect(await keysOf("d1")).toEqual([]);
        expect(await unfinished()).toEqual([]);
      }
    });

    test("stops when it is told to", async () => {
      const store = open();
      const stop = new AbortController();
      const endless = async function* () {
        for (let sent = 0; ; sent += 1) {
          if (sent === 3) stop.abort(new Error("enough"));
          yield Buffer.alloc(6 * 1024 * 1024);
        }
      };
      await expect(store.put("e1/data", endless(), stop.signal)).rejects.toThrow();
      expect(await keysOf("e1")).toEqual([]);
      await expect.poll(unfinished).toEqual([]);
    });

    test("holds objects of more than a part of what it sends at once", async () => {
      const store = open();
      const piece = Buffer.alloc(1024 * 1024, "0123456789abcdef");
      await store.put("f1/data", bytes(...Array.from({ length: 19 }, () => piece)), soon());
      expect((await store.list("f1", soon()))[0]?.bytes).toBe(19 * 1024 * 1024);
      expect(await textOf(await store.read("f1/data", 18 * 1024 * 1024 + 5, soon()))).toBe(piece.subarray(5).toString());
    });
  });
};
