import diagnostics from "node:diagnostics_channel";

/** Who did what to which session. Never the code, a conf value or a token (design.md §4). */
export interface AuditEvent {
  readonly action:
    | "create"
    | "submit"
    | "cancel"
    | "interrupt"
    | "restart"
    | "delete"
    | "upload"
    | "delete-upload"
    | "schedule"
    | "change-schedule"
    | "delete-schedule"
    | "refuse";
  /** Who is logged in; null while authentication is off. */
  readonly user: string | null;
  /** Address the request came from; null for what the server does by itself. */
  readonly remote: string | null;
  readonly proxyUser: string | null;
  readonly session: number | null;
  readonly statement: number | null;
  /** An upload's id, where that is what it is about. */
  readonly upload?: string;
  /** A schedule's name, where that is what it is about. */
  readonly schedule?: string;
  /** A problem's code for a refusal, else null. */
  readonly problem: string | null;
}

/** Something about a session that the people who run the server may want to know. */
export interface SessionEvent {
  readonly session: number;
  readonly event: "adopted" | "attempt" | "state" | "link-up" | "link-down" | "reset" | "ended" | "removed" | "fault";
  readonly detail: string;
}

const audit = diagnostics.channel("longwick.audit");
const session = diagnostics.channel("longwick.session");

export const publishAudit = (event: AuditEvent): void => audit.publish(event);
export const publishSession = (event: SessionEvent): void => session.publish(event);

/** Calls `listener` for each event until the returned function is called. */
export const onAudit = (listener: (event: AuditEvent) => void): (() => void) => subscribe("longwick.audit", listener);
export const onSession = (listener: (event: SessionEvent) => void): (() => void) => subscribe("longwick.session", listener);

const subscribe = <Event>(name: string, listener: (event: Event) => void): (() => void) => {
  // Only this file publishes on these channels, so the message is what the channel's name promises.
  const receive = (message: unknown) => listener(message as Event);
  diagnostics.subscribe(name, receive);
  return () => {
    diagnostics.unsubscribe(name, receive);
  };
};
