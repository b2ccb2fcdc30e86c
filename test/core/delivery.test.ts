import { describe, expect, test, vi } from "vitest";
import { Delivery } from "../../src/core/delivery.ts";
import { Problem } from "../../src/core/problems.ts";
import { NO_SPEC } from "../../src/core/spec.ts";
import type { UploadSource } from "../../src/core/uploads.ts";
import type { ReplyResult, RequestBody, RequestName } from "../../src/protocol/frames.ts";
import { bytes } from "../uploads/contract.ts";

const ID = "0199f3a2-4c1e-7d02-8a6b-5e1f0c9d7b34";
const FILE = { upload: ID, name: "a.jar" };
const SPEC = { ...NO_SPEC, jars: [`upload:/${ID}/a.jar`] };
const CONTENT = Buffer.alloc(1_000_000, "0123456789");
const SOON = { timeout: 8_000 };

type Supply = RequestBody<"supply">;

/** A driver that waits for one file, as far as its answers show. */
class Waiting {
  have = 0;
  whole = false;
  awaited = FILE;
  readonly pieces: Supply[] = [];
  /** What it answers in place of taking a piece. */
  refuse: ((piece: Supply) => Problem | null) | null = null;

  readonly request = async <Name extends RequestName>(name: Name, body: RequestBody<Name>): Promise<ReplyResult<Name>> => {
    await new Promise(setImmediate);
    // The two requests there are, each with its own answer.
    if (name === "awaited") return { files: this.whole ? [] : [{ ...this.awaited, offset: this.have }] } as ReplyResult<Name>;
    const piece = body as RequestBody<RequestName> as Supply;
    this.pieces.push(piece);
    const refusal = this.refuse?.(piece) ?? null;
    if (refusal !== null) throw refusal;
    expect(piece.offset).toBeLessThanOrEqual(this.have);
    this.have = Math.max(this.have, piece.offset + Buffer.from(piece.data, "base64").length);
    this.whole ||= piece.last;
    return { offset: this.have } as ReplyResult<Name>;
  };
}

const stored: UploadSource = { open: async (_id, from) => ({ sha256: "sum", content: bytes(CONTENT.subarray(from)) }) };

const deliver = (driver: Waiting, source: UploadSource | null = stored) => {
  const failed: string[] = [];
  const stop = new AbortController();
  const delivery: Delivery = new Delivery(SPEC, {
    ...{ source, request: driver.request, changed: () => troubles.push(delivery.trouble), fail: (reason) => failed.push(reason) },
    signal: stop.signal,
  });
  const troubles: (string | null)[] = [];
  return { delivery, failed, troubles, stop };
};

describe("a driver that waits for an upload", () => {
  test("is sent it in pieces that fit the wire, with its sum", async () => {
    const driver = new Waiting();
    const { delivery, failed, troubles } = deliver(driver);
    delivery.begin(4);
    await expect.poll(() => driver.whole).toBe(true);
    expect(Buffer.concat(driver.pieces.map(({ data }) => Buffer.from(data, "base64")))).toEqual(CONTENT);
    for (const piece of driver.pieces) {
      expect(piece).toMatchObject({ ...FILE, sha256: "sum", last: piece === driver.pieces.at(-1) });
      expect(piece.data.length).toBeLessThan(250_000);
    }
    expect([failed, troubles]).toEqual([[], []]);
  });

  test("is sent what is missing only, also when another server sends meanwhile", async () => {
    const driver = Object.assign(new Waiting(), { have: 500_000 });
    deliver(driver).delivery.begin(4);
    await expect.poll(() => driver.whole).toBe(true);
    expect(driver.pieces[0]?.offset).toBe(500_000);
    const other = new Waiting();
    const slow: UploadSource = {
      open: async () => ({
        sha256: "sum",
        content: (async function* () {
          yield CONTENT.subarray(0, 100_000);
          await vi.waitFor(() => expect(other.have).toBe(100_000), SOON);
          other.have = CONTENT.length - 1;
          // The next answer says so.
          yield CONTENT.subarray(100_000, 200_000);
          await vi.waitFor(() => expect(other.pieces).toHaveLength(2), SOON);
          for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
          yield CONTENT.subarray(200_000);
        })(),
      }),
    };
    deliver(other, slow).delivery.begin(4);
    await expect.poll(() => other.whole).toBe(true);
    expect(other.pieces.map(({ offset }) => offset)).toEqual([0, 100_000, expect.any(Number), CONTENT.length]);
  });

  test("is sent nothing that its claim does not name, whatever it says it waits for", async () => {
    const driver = Object.assign(new Waiting(), { awaited: { upload: ID.replace("0", "1"), name: "a.jar" } });
    const { delivery, failed } = deliver(driver);
    delivery.begin(4);
    await expect.poll(() => failed).toEqual(["The driver waits for an upload. It waits for a file that was not asked for."]);
    expect(driver.pieces).toEqual([]);
  });

  test("is told to end when the file is gone, or its disk is full", async () => {
    const gone: UploadSource = { open: async () => Promise.reject(new Problem("UPLOAD_NOT_FOUND", "Upload 'x' not found.")) };
    const { delivery, failed } = deliver(new Waiting(), gone);
    delivery.begin(4);
    await expect.poll(() => failed).toEqual(["The driver waits for an upload. Upload 'x' not found."]);

    const full = Object.assign(new Waiting(), { refuse: () => new Problem("TOO_MANY_STATEMENTS", "The driver cannot keep a.jar: full.") });
    const other = deliver(full);
    other.delivery.begin(4);
    await expect.poll(() => other.failed).toEqual(["The driver waits for an upload. The driver cannot keep a.jar: full."]);
  });

  test("waits while the store cannot be reached, and the session says why", async () => {
    const driver = new Waiting();
    let tries = 0;
    const shaky: UploadSource = {
      open: async (id, from, signal) => {
        tries += 1;
        if (tries === 1) throw new Problem("STORAGE_UNREACHABLE", "The store of uploads cannot be used now: it sleeps.");
        return stored.open(id, from, signal);
      },
    };
    const { delivery, failed, troubles } = deliver(driver, shaky);
    delivery.begin(4);
    await expect.poll(() => driver.whole).toBe(true);
    await expect
      .poll(() => troubles)
      .toEqual(["The driver waits for an upload, which is tried again: The store of uploads cannot be used now: it sleeps.", null]);
    expect(failed).toEqual([]);
  });

  test("is left alone when its link is gone, and looked after again with the next one", async () => {
    const driver = new Waiting();
    driver.refuse = () => new Problem("DRIVER_UNREACHABLE", "closed");
    const { delivery, failed, troubles } = deliver(driver);
    delivery.begin(4);
    await expect.poll(() => driver.pieces.length).toBeGreaterThan(0);
    driver.refuse = null;
    await expect
      .poll(() => {
        delivery.begin(4);
        return driver.whole;
      })
      .toBe(true);
    expect([failed, troubles]).toEqual([[], []]);
  });
});

test("drivers of older releases, and those that were told of no upload, are asked nothing", async () => {
  const driver = new Waiting();
  const asked = vi.fn(driver.request);
  const parts = { source: stored, request: asked as typeof driver.request, changed: () => undefined, fail: () => undefined };
  new Delivery(SPEC, { ...parts, signal: new AbortController().signal }).begin(3);
  new Delivery(NO_SPEC, { ...parts, signal: new AbortController().signal }).begin(4);
  await new Promise(setImmediate);
  expect(asked).not.toHaveBeenCalled();
});
