import { setTimeout as pause } from "node:timers/promises";
import { publishSession } from "../../core/events.ts";
import { describe } from "../files.ts";
import { type Api, METADATA_ONLY } from "./api.ts";
import { uidOf } from "./claim-reading.ts";
import type { Claims } from "./claims.ts";
import { INSTANCE_LABEL, PART_LABEL, ROLE_LABEL, SESSION_LABEL } from "./names.ts";
import { eraseSession } from "./session-objects.ts";
import type { Stored } from "./watch.ts";

/** How it is found out whose something is. */
export interface Orphanage {
  readonly api: Api;
  readonly claims: Claims;
  readonly instance: string;
  /** Whether a session is known to live: what is its stays. */
  lives(uid: string): boolean;
}

export interface OrphansParts extends Orphanage {
  /** Where drivers may be. */
  readonly namespaces: readonly string[];
}

/** A claim follows its name and its secrets within seconds. */
const UNCLAIMED_MS = 2 * 60_000;

/**
 * Nothing runs or is kept that no living session owns: what a server left that was killed between two steps goes, and what a claim that
 * was removed by hand left behind. Looks again while something may still get its claim. Never rejects.
 */
export const clearOrphans = async (parts: OrphansParts, signal: AbortSignal): Promise<void> => {
  try {
    for (const namespace of parts.namespaces) await clearPods(parts, namespace, signal);
    while ((await clearUnclaimed(parts, signal)) > 0) await pause(UNCLAIMED_MS, undefined, { signal });
  } catch (error) {
    if (!signal.aborted)
      publishSession({ session: -1, event: "fault", detail: `what belongs to no session cannot be removed: ${describe(error)}` });
  }
};

/** Drivers and executors, and with a driver what has its name. */
const clearPods = async (parts: OrphansParts, namespace: string, signal: AbortSignal): Promise<void> => {
  const { api } = parts;
  const pods = `api/v1/namespaces/${namespace}/pods`;
  for (const { metadata } of await orphansOf(parts, pods, signal)) {
    publishSession({ session: -1, event: "fault", detail: `pod ${metadata.name} belongs to no session and is removed` });
    const uid = metadata.labels?.[SESSION_LABEL] ?? "";
    if (metadata.labels?.[ROLE_LABEL] === "driver") await eraseSession({ api, namespace, name: metadata.name, uid }, 0, signal);
    else await api.delete(`${pods}/${metadata.name}`, signal, { gracePeriodSeconds: 0, preconditions: { uid: metadata.uid } });
  }
};

/** Names and secrets whose claim never came; answers of how many that cannot be told yet. */
const clearUnclaimed = async (parts: OrphansParts, signal: AbortSignal): Promise<number> => {
  const { api, claims } = parts;
  let young = 0;
  for (const kind of ["configmaps", "secrets"]) {
    const path = `api/v1/namespaces/${claims.namespace}/${kind}`;
    for (const { metadata } of await orphansOf(parts, path, signal)) {
      const old = Date.now() - Date.parse(metadata.creationTimestamp ?? "") > UNCLAIMED_MS;
      if (old) await api.delete(`${path}/${metadata.name}`, signal, { preconditions: { uid: metadata.uid } });
      else young += 1;
    }
  }
  return young;
};

/** The objects of a list whose session does not live, claims apart. */
export const orphansOf = async (
  { api, claims, instance, lives }: Orphanage,
  path: string,
  signal: AbortSignal,
): Promise<readonly Stored[]> => {
  // A kept log belongs to its claim, and goes with it.
  const labelSelector = `${INSTANCE_LABEL}=${instance},${SESSION_LABEL},${PART_LABEL} notin (claim,log)`;
  const { items } = await api.list<Stored>(path, { labelSelector }, signal, METADATA_ONLY);
  const orphans: Stored[] = [];
  // What is known here may be old: whoever is to lose something is asked for where claims are kept.
  for (const item of items) if (!lives(uidOf(item)) && !(await claims.lives(uidOf(item), signal))) orphans.push(item);
  return orphans;
};
