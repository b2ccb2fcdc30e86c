import { Type } from "typebox";
import { Check } from "typebox/value";
import type { Claim, SessionEnd } from "../../core/ports.ts";
import { NO_SPEC, SessionSpec } from "../../core/spec.ts";
import { WrittenAttempts, WrittenEnd } from "../ending.ts";
import { SESSION_LABEL } from "./names.ts";
import type { Stored } from "./watch.ts";

export interface ConfigMap extends Stored {
  readonly data?: Readonly<Record<string, string>>;
}

/** What a claim says of its workload besides what the core must know. */
export interface ClaimState {
  readonly claim: Claim;
  readonly keyId: string;
  readonly hasSecret: boolean;
  /** Whether other servers might have claimed the same. */
  readonly shared: boolean;
  /** A pod was made: when there is none any more it is gone for good. */
  readonly launched: boolean;
  /** Somebody decided that it ends, and may not have come to the end of it. */
  readonly doom: Doom | null;
}

/** How a session is going to end. */
export interface Doom extends SessionEnd {
  /** How long its pod may take to end by itself. */
  readonly graceMs: number;
}

const DoomJson = Type.Object({ ...WrittenEnd.properties, graceMs: Type.Integer() });
const ClaimJson = Type.Object({
  owner: Type.Union([Type.String(), Type.Null()]),
  spec: SessionSpec,
  createdMs: Type.Integer(),
  notes: Type.Array(Type.String()),
  /** Whose master key its keys come from. */
  key: Type.String(),
  /** Whether a Secret holds the spec with its secrets. */
  secret: Type.Boolean(),
  /** Whether other servers might have claimed the same. */
  shared: Type.Optional(Type.Boolean()),
});
export type ClaimJson = Type.Static<typeof ClaimJson>;

const END_TAIL_BYTES = 128 * 1024;

export const uidOf = ({ metadata }: Stored): string => metadata.labels?.[SESSION_LABEL] ?? metadata.uid;

/** A claim as its ConfigMap has it. One that cannot be read is told of as ended, with the reason. */
export const readClaim = (item: ConfigMap): ClaimState => {
  const uid = uidOf(item);
  const id = Number(/-(\d+)$/.exec(item.metadata.name)?.[1] ?? Number.NaN);
  const { data = {} } = item;
  const json = parsed(data["claim.json"]);
  const end = parsed(data["end.json"]);
  const past = parsed(data["attempts.json"]);
  const attempts = Check(WrittenAttempts, past) ? past : [];
  const keys = attemptKeys(attempts.length);
  const doom = parsed(data[keys.doom]);
  if (!Check(ClaimJson, json)) return unreadable(id, uid, item);
  const { owner, spec, createdMs, notes, key, secret, shared = false } = json;
  return {
    claim: { id, uid, owner, spec, createdMs, notes, attempts, end: Check(WrittenEnd, end) ? end : null },
    keyId: key,
    hasSecret: secret,
    shared,
    launched: data[keys.launched] !== undefined,
    doom: Check(DoomJson, doom) ? doom : null,
  };
};

/** What an attempt says of itself in its claim; `past`: how many there were before. A server that is late speaks of its own one alone. */
export const attemptKeys = (past: number): { readonly launched: string; readonly doom: string } =>
  past === 0 ? { launched: "launched", doom: "doom.json" } : { launched: `launched-${past + 1}`, doom: `doom-${past + 1}.json` };

/** An end or a doom as it is kept: with the last lines that fit beside the rest of a claim. */
export const writeEnd = (end: SessionEnd): string => {
  const logTail: string[] = [];
  let room = END_TAIL_BYTES;
  for (const line of [...end.logTail].reverse()) {
    room -= Buffer.byteLength(line) + 3;
    if (room < 0) break;
    logTail.unshift(line);
  }
  return JSON.stringify({ ...end, logTail });
};

const parsed = (text: string | undefined): unknown => {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
};

const unreadable = (id: number, uid: string, item: ConfigMap): ClaimState => {
  const reason = `The session's claim, ConfigMap ${item.metadata.name}, cannot be read back.`;
  const createdMs = Date.parse(item.metadata.creationTimestamp ?? "") || 0;
  const end: SessionEnd = { state: "dead", reason, logTail: [reason], endedMs: createdMs, appId: null };
  return {
    claim: { id, uid, owner: null, spec: NO_SPEC, createdMs, notes: [], attempts: [], end },
    keyId: "",
    hasSecret: true,
    shared: true,
    launched: true,
    doom: { ...end, graceMs: 0 },
  };
};
