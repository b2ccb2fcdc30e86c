import type { Session } from "../../core/session.ts";

/** How far a client has read: up to a message (`part`, from 0) of a record of one life of a session's driver. */
export interface Position {
  readonly session: number;
  readonly epoch: string;
  readonly seq: number;
  readonly part: number;
}

/** Before everything. */
const BEGINNING: Position = { session: 0, epoch: "", seq: 0, part: 0 };
/** After every message of its record. */
export const WHOLE_RECORD = 999_999;

export const positionText = ({ session, epoch, seq, part }: Position): string => `${session}.${seq}.${part}.${epoch}`;

/** Null for what is no position. */
export const readPosition = (text: string): Position | null => {
  if (text === "beginning") return BEGINNING;
  const [, session, seq, part, epoch] = /^(\d{1,9})\.(\d{1,15})\.(\d{1,6})\.(.{1,100})$/.exec(text) ?? [];
  if (session === undefined || seq === undefined || part === undefined || epoch === undefined) return null;
  return { session: Number(session), seq: Number(seq), part: Number(part), epoch };
};

/** Whether records after it can be told from those before: the same session, the same life of its driver. */
export const follows = (position: Position, session: Session): boolean =>
  position.session === session.id && position.epoch === session.epoch;
