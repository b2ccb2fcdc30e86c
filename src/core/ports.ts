import type { Duplex } from "node:stream";
import type { Hello, RecordFrame, ReplyResult, RequestBody, RequestName, Snapshot } from "../protocol/frames.ts";
import type { ScheduleKeeper } from "./schedule.ts";
import type { SessionSpec } from "./spec.ts";
import type { EndCause, EndState, WorkloadPhase } from "./states.ts";

/** A session id taken for good, with what must be known of the session while no driver can be asked. */
export interface Claim {
  /** Small integer that never returns. */
  readonly id: number;
  /** UUID; the link's key is derived from it. */
  readonly uid: string;
  readonly owner: string | null;
  /** Redacted: safe to show. */
  readonly spec: SessionSpec;
  readonly createdMs: number;
  /** Lines the session's log begins with (unknown request fields and the like). */
  readonly notes: readonly string[];
  /** A batch's that have ended and were not the last, oldest first. */
  readonly attempts: readonly Attempt[];
  /** Set once the session has ended. */
  readonly end: SessionEnd | null;
}

export interface SessionEnd {
  readonly state: EndState;
  readonly reason: string;
  readonly logTail: readonly string[];
  readonly endedMs: number;
  /** What was known of the application, for answers after its end. */
  readonly appId: string | null;
  readonly cause?: EndCause;
  /** An application's own. */
  readonly exitCode?: number;
  /** So many lines the driver wrote; `logTail` is their end. Absent: it is all of them. */
  readonly logLines?: number;
  /** Whether those before `logTail` are gone; otherwise Launcher.log has them. */
  readonly onlyTail?: boolean;
  /** The phases of the launch, as the log of the server that saw the end has them. */
  readonly launch?: readonly string[];
}

/** A try that is followed by another one, which is a workload of its own. */
export interface Attempt extends SessionEnd {
  /** When the next one may begin. */
  readonly nextMs: number;
}

/** What somebody asks for. */
export interface SessionDraft {
  readonly owner: string | null;
  /** With its secrets: the launcher keeps them where only the driver can read them. */
  readonly spec: SessionSpec;
  readonly notes: readonly string[];
}

export interface ClaimDraft extends SessionDraft {
  /** UUID that the claim shall have; unique for ever. */
  readonly uid: string;
  /** Whether another server may claim the same uid, because its client sent the same request there: one claim is both's then. */
  readonly shared?: boolean;
}

/** A value of a driver's conf and who it is from: `server`, `configuration`, `preset NAME`, `user` (the request's conf), `field NAME`. */
export interface ConfValue {
  readonly value: string;
  readonly source: string;
}
export type SourcedConf = Readonly<Record<string, ConfValue>>;

/** What a claim would be launched as. Without secrets: safe to show to whoever asked for it. */
export interface LaunchPlan {
  readonly conf: SourcedConf;
  readonly jars: readonly string[];
  readonly pyFiles: readonly string[];
  readonly files: readonly string[];
  readonly archives: readonly string[];
  /** The pod, or the process, as the launcher would make it. */
  readonly workload: Readonly<Record<string, unknown>>;
}

/** Id and uid of a session that is only planned. */
export const PLANNED = { id: 0, uid: "00000000-0000-0000-0000-000000000000" } as const;

/** What a claim is asked for by: its id, the name it holds, the id of its Jupyter kernel. */
export type WantedClaim = { readonly id: number } | { readonly name: string } | { readonly kernel: string };

/** Told of claims, whichever server made, changed or removed them. Must not throw. */
export interface ClaimListener {
  /** The claim is there, or is another than before. */
  known(claim: Claim): void;
  /** Nothing is left of it; its workload, if it was launched here, ends. */
  gone(claim: Claim): void;
}

/** Where drivers come from: processes on this machine, pods in a cluster. */
export interface Launcher {
  /**
   * Takes the next id, and the name when there is one. Durable before it returns: a server killed right after finds the claim.
   * @throws Problem SPEC_REFUSED, NAME_TAKEN (message `Duplicate session name: NAME for session ID`), DRIVER_UNREACHABLE when nothing can
   * be stored.
   */
  claim(draft: ClaimDraft, signal: AbortSignal): Promise<Claim>;
  /**
   * What `claim` and `launch` would make of it, under the id and uid of PLANNED; nothing is taken or made.
   * @throws Problem SPEC_REFUSED for whatever `claim` would refuse
   */
  plan(draft: SessionDraft, signal: AbortSignal): Promise<LaunchPlan>;
  /**
   * Tells of every claim there is, ended ones within retention too, and resolves; then, until it is closed, of what other servers of the
   * same sessions do, soon after they do it. Rejects when claims cannot be read.
   */
  follow(listener: ClaimListener, signal: AbortSignal): Promise<void>;
  /**
   * Asks for a claim that `follow` has not told of yet; null when there is none.
   * @throws Problem DRIVER_UNREACHABLE when that cannot be found out now
   */
  find(wanted: WantedClaim): Promise<Claim | null>;
  /**
   * Starts the workload of the claim's current attempt or adopts the one that is there; idempotent, also among servers. Failures show as an ended phase, never
   * as a rejection; so does an end that another server wrote down.
   */
  launch(claim: Claim): Workload;
  /**
   * Writes down that the claim's current attempt, of which nothing is left, is followed by another; answers the claim as it is then. What
   * was written first stays: another server's attempt, or an end.
   */
  retry(claim: Claim, attempt: Attempt): Promise<Claim>;
  /** Writes down how the session ended. Idempotent; the first end stays, and is answered. */
  conclude(claim: Claim, end: SessionEnd): Promise<SessionEnd>;
  /** Lines of an ended driver's log, as far as they are kept, by their numbers from 0; none where the end holds all there is. */
  log(claim: Claim, from: number, lines: number): Promise<readonly string[]>;
  /** What is left of an ended session's records, oldest first; none where they go with the driver. */
  records(claim: Claim): AsyncIterable<readonly RecordFrame[]>;
  /** Whether executors are workloads of their own, whose logs can be read. */
  readonly showsExecutors: boolean;
  /** The executors of the claim's driver that are workloads of their own now. */
  executors(claim: Claim, signal: AbortSignal): Promise<readonly ExecutorView[]>;
  /** The last lines of an executor's log, while it is there; null: there is none of that name. */
  executorLog(claim: Claim, name: string, lines: number, signal: AbortSignal): Promise<string | null>;
  /** Where schedules are kept beside the claims. */
  readonly schedules: ScheduleKeeper;
  /**
   * Removes all that is left of the session but the fact that its id is used. Idempotent; the workload must have ended.
   * @throws Problem DRIVER_UNREACHABLE when it cannot be removed now
   */
  remove(claim: Claim): Promise<void>;
  /** Lets go of everything without ending any workload. Idempotent. */
  close(): Promise<void>;
}

/** An executor that is a workload of its own. */
export interface ExecutorView {
  readonly name: string;
  /** In the words of the place where it runs. */
  readonly state: string;
}

/** The pod or process that carries a driver. */
export interface Workload {
  readonly phase: WorkloadPhase;
  /** The phase now and each later one; ends after `ended` or when the signal aborts. */
  phases(signal: AbortSignal): AsyncIterable<WorkloadPhase>;
  /** A new connection to the supervisor. Rejects when there is none to be had now; the link tries again. */
  dial(signal: AbortSignal): Promise<Duplex>;
  /** Ends the workload and everything it started: asks first, kills after `graceMs`. Idempotent; resolves when nothing is left. */
  stop(graceMs: number): Promise<void>;
  /** The link's key. */
  readonly key: Uint8Array;
  /** Why the driver can never be spoken to, though it can be ended; null: it can. */
  readonly mute: string | null;
  /** What stands for the link to a driver that has no supervisor: its log, and what else is known from outside. Absent: `dial`. */
  link?(): DriverLink;
  /** Derived as the key is, but known to servers alone: what is sealed with it no driver can seal. */
  readonly seal: Uint8Array;
}

export type LinkEvent =
  | { readonly type: "up"; readonly hello: Hello }
  /** Forget everything folded so far; records from `firstSeq` follow. */
  | { readonly type: "reset"; readonly snapshot: Snapshot; readonly firstSeq: number }
  /** `bytes`: how long they were on the wire. */
  | { readonly type: "records"; readonly records: readonly RecordFrame[]; readonly bytes: number }
  /** There is no connection, or none could be made; it is tried again. Told once for each reason. */
  | { readonly type: "down"; readonly reason: string }
  /** The driver will never talk to us: no common version or a wrong key. The last event. */
  | { readonly type: "refused"; readonly reason: string };

/** One session's connection to its supervisor, redialled until closed. Opening it again after a loss is its own business. */
export interface DriverLink {
  /** Whether requests can be sent at once. */
  readonly up: boolean;
  /** What happens on the link, in order; may be iterated once. Ends when the link is closed or refused. */
  events(): AsyncIterable<LinkEvent>;
  /**
   * Sends a request and waits for its answer. While the link is down it waits for it to come back. A request that was sent but not
   * answered when the link broke is sent again only if it is idempotent (submit is keyed).
   * @throws Problem DRIVER_UNREACHABLE when the link broke under a request that may not be repeated or was closed; a driver's `failure`
   * becomes the Problem that fits its code (`invalid` INVALID, `full` TOO_MANY_STATEMENTS, `gone` STATEMENT_NOT_FOUND,
   * `ending` SESSION_ENDED, else DRIVER_UNREACHABLE), and a request its protocol version lacks NOT_SUPPORTED. Rejects with the signal's reason when it aborts.
   */
  request<Name extends RequestName>(name: Name, body: RequestBody<Name>, signal: AbortSignal): Promise<ReplyResult<Name>>;
  /**
   * A connection of its own to a place in the driver, for plain bytes; whoever asked owns it.
   * @throws Problem DRIVER_UNREACHABLE, also when nothing listens there; NOT_SUPPORTED by a driver of an older release. Rejects with the
   * signal's reason when it aborts.
   */
  forward(to: ForwardPlace, signal: AbortSignal): Promise<Duplex>;
  /** Idempotent; waits for the socket's end. Forwards go on. */
  close(): Promise<void>;
}

/** What in a driver may be reached beside its supervisor. */
export type ForwardPlace = "ui";

export interface LinkOptions {
  readonly session: string;
  readonly key: Uint8Array;
  readonly dial: (signal: AbortSignal) => Promise<Duplex>;
}

/** Implemented by `link/link.ts`, given to the core by `main.ts`. */
export type OpenLink = (options: LinkOptions) => DriverLink;

export interface Clock {
  /** Unix time in milliseconds. */
  now(): number;
}
