import { createHash } from "node:crypto";
import type { Claim } from "../../core/ports.ts";

/** Labels and annotations of ours; values of labels stay short and safe (design.md §6). */
export const SESSION_LABEL = "longwick/session";
/** On a claim: the id of the session's Jupyter kernel. */
export const KERNEL_LABEL = "longwick/kernel";
export const PART_LABEL = "longwick/part";
export const ID_ANNOTATION = "longwick/session-id";
export const OWNER_ANNOTATION = "longwick/owner";
export const SPEC_ANNOTATION = "longwick/spec";
export const INSTANCE_LABEL = "app.kubernetes.io/instance";
/** `kubectl get pods -l spark-app-tag=TAG` lists an application's driver and executors. */
export const TAG_LABEL = "spark-app-tag";
export const ROLE_LABEL = "spark-role";

/** Labels that nobody else may set. */
export const isReservedLabel = (name: string): boolean =>
  /^(longwick|app\.kubernetes\.io)\//.test(name) || [TAG_LABEL, ROLE_LABEL, "spark-app-selector", "spark-exec-id"].includes(name);

/** The longest instance name: executors' names hold it and may have 47 characters before their number. */
export const INSTANCE_LIMIT = 20;

/**
 * The session's pod and everything that belongs to it have this name, so that whoever finishes a launch makes the same objects; another
 * attempt is another pod.
 */
export const driverName = (instance: string, { id, uid, attempts }: Pick<Claim, "id" | "uid" | "attempts">): string =>
  `${instance}-${id}-${uid.slice(0, 8)}${attempts.length === 0 ? "" : `-${attempts.length + 1}`}`;

/** Objects of a server's own namespace. */
export const claimName = (instance: string, id: number): string => `${instance}-session-${id}`;
export const idsName = (instance: string): string => `${instance}-ids`;
export const masterKeyName = (instance: string): string => `${instance}-master-key`;
export const specName = (instance: string, uid: string): string => `${instance}-spec-${uid}`;
/** What an application wrote. */
export const logName = (instance: string, uid: string): string => `${instance}-log-${uid}`;
/** Who claims a uid that others may claim too. */
export const sharedName = (instance: string, uid: string): string => `${instance}-shared-${uid}`;
/** Session names may hold any text. */
export const holderName = (instance: string, name: string): string =>
  `${instance}-name-${createHash("sha256").update(name).digest("hex").slice(0, 40)}`;

/** On everything this instance makes. */
export const instanceLabels = (instance: string, part: string): Record<string, string> => ({
  "app.kubernetes.io/name": "longwick",
  "app.kubernetes.io/managed-by": "longwick",
  [INSTANCE_LABEL]: instance,
  [PART_LABEL]: part,
});

/** On everything of one session; `part` says what the object is. */
export const sessionLabels = (instance: string, uid: string, part: string): Record<string, string> => ({
  ...instanceLabels(instance, part),
  [SESSION_LABEL]: uid,
});
