import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Access } from "../../../src/core/access.ts";
import { Sessions } from "../../../src/core/sessions.ts";
import { type UploadSource, Uploads, uriOf } from "../../../src/core/uploads.ts";
import { openLocalLauncher } from "../../../src/launch/local.ts";
import { openLink } from "../../../src/link/link.ts";
import { openDirectoryStore } from "../../../src/uploads/directory.ts";
import { LocalSite } from "../../kit/local-site.ts";
import { until } from "../../kit/until.ts";
import { draftOf } from "../../launch/contract.ts";
import { bytes, soon } from "../../uploads/contract.ts";

const NOBODY = { name: null, remote: null };
const CONTENT = Buffer.alloc(24 * 1024 * 1024, "0123456789abcdef");
const HALF = CONTENT.length / 2;

/** Real supervisors with a JVM that never comes up: what is sent before Spark is started needs no Spark. */
test("what one server began to send another goes on with, where the driver says that it stands", { timeout: 60_000 }, async () => {
  const site = await LocalSite.make();
  const access = new Access({ superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] });
  const uploads = new Uploads({
    store: openDirectoryStore(join(site.root, "store")),
    access,
    rules: { limitBytes: 1 << 30, quotaBytes: 0, quotaFiles: 0, retentionMs: 0 },
    clock: { now: Date.now },
    named: () => new Set(),
  });
  const upload = await uploads.take({ name: "größe.bin", proxyUser: null }, NOBODY, bytes(CONTENT), soon());
  const serve = async (source: UploadSource) => {
    const launcher = await openLocalLauncher(site.settings);
    const parts = { launcher, openLink, clock: { now: Date.now }, startWaitMs: 1_000, stopGraceMs: 1_000, uploads: source };
    const sessions = new Sessions(parts, access, { maxSessions: 0, maxSessionsPerUser: 0, retentionMs: 60_000 });
    await sessions.adopt(soon());
    return {
      sessions,
      close: async () => {
        await sessions.close();
        await launcher.close();
      },
    };
  };

  /** Gives half of the file, and then no more. */
  const stuck: UploadSource = {
    open: async (id, from, signal) => {
      const some = async function* () {
        yield CONTENT.subarray(from, HALF);
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
      };
      return { sha256: (await uploads.open(id, from, signal)).sha256, content: some() };
    },
  };
  const first = await serve(stuck);
  const { id } = await first.sessions.create(draftOf({ files: [uriOf(upload)] }), NOBODY, soon());
  const part = site.session(id, "uploads", upload.id, "größe.bin.part");
  await until("half of the file is with the driver", 20_000, () => {
    const size = sizeOf(part);
    return size === HALF ? true : undefined;
  });
  expect(first.sessions.find(String(id), NOBODY, "view").logTail(5)).toContain("Waiting for uploads before Spark is started: größe.bin.");
  await first.close();

  const offsets: number[] = [];
  const second = await serve({
    open: (of, from, signal) => {
      offsets.push(from);
      return uploads.open(of, from, signal);
    },
  });
  try {
    const session = second.sessions.find(String(id), NOBODY, "view");
    await until("the driver has the file", 20_000, () =>
      session.logTail(20).includes(`Upload größe.bin is there (${CONTENT.length} bytes).`) ? true : undefined,
    );
    expect(offsets).toEqual([HALF]);
    const sent = readFileSync(site.session(id, "uploads", upload.id, "größe.bin"));
    expect(createHash("sha256").update(sent).digest("hex")).toBe(upload.sha256);
    await second.sessions.delete(session, "the test is over");
  } finally {
    await second.close();
    await site.dispose();
  }
});

const sizeOf = (path: string): number => {
  try {
    return readFileSync(path).length;
  } catch {
    return 0;
  }
};
