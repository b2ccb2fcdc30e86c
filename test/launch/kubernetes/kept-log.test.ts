import { KubeConfig } from "@kubernetes/client-node";
import { expect, test } from "vitest";
import { type Claim, PLANNED } from "../../../src/core/ports.ts";
import { NO_SPEC } from "../../../src/core/spec.ts";
import { Api } from "../../../src/launch/kubernetes/api.ts";
import { KeptLogs } from "../../../src/launch/kubernetes/kept-log.ts";
import type { NumberedLines } from "../../../src/launch/kubernetes/log-end.ts";

const CLAIM: Claim = { ...PLANNED, owner: null, spec: NO_SPEC, createdMs: 0, notes: [], attempts: [], end: null };
const NOTHING: NumberedLines = { from: 0, lines: [] };

test("of many logs that are to be kept at the same moment two are held at once, and one that fails is in nobody's way", async () => {
  const config = new KubeConfig();
  config.loadFromClusterAndUser({ name: "none", server: "http://127.0.0.1:1", skipTLSVerify: true }, { name: "anybody" });
  const logs = new KeptLogs(new Api(config), "any", "lw");
  const [{ signal }, reads] = [new AbortController(), Array.from({ length: 6 }, () => Promise.withResolvers<NumberedLines>())];
  let begun = 0;
  const kept = reads.map(({ promise }) =>
    logs.keep(
      CLAIM,
      () => {
        begun += 1;
        return promise;
      },
      signal,
    ),
  );
  for (const [index, read] of reads.entries()) {
    await new Promise(setImmediate);
    expect(begun).toBe(Math.min(index + 2, 6));
    if (index === 1) read.reject(new Error("it cannot be had"));
    else read.resolve(NOTHING);
    await kept[index]?.catch(() => undefined);
  }
  const settled = await Promise.allSettled(kept);
  expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled", "fulfilled", "fulfilled"]);
});
