import { Type } from "typebox";
import { END_CAUSES } from "../core/states.ts";

const Cause = Type.Enum([...END_CAUSES]);

/** How a session or an attempt ended, as launchers keep it. */
export const END_FIELDS = {
  state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success")]),
  reason: Type.String(),
  logTail: Type.Array(Type.String()),
  endedMs: Type.Integer(),
  appId: Type.Union([Type.String(), Type.Null()]),
  cause: Type.Optional(Cause),
  exitCode: Type.Optional(Type.Integer()),
  logLines: Type.Optional(Type.Integer()),
};
export const EndFile = Type.Object(END_FIELDS);
export const AttemptsFile = Type.Array(Type.Object({ ...END_FIELDS, nextMs: Type.Integer() }));

/** What a supervisor writes when it ends by itself: python-shim/spark_shim/termination.py. */
export const TerminationFile = Type.Object({
  state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success"), Type.Literal("error")]),
  reason: Type.String(),
  logTail: Type.Array(Type.String()),
  appId: Type.Union([Type.String(), Type.Null()]),
  cause: Type.Optional(Cause),
  exitCode: Type.Optional(Type.Integer()),
});
export type TerminationFile = Type.Static<typeof TerminationFile>;

/** `error` is a word for drivers that are up and broken; nothing follows an end. */
export const endedState = ({ state }: Pick<TerminationFile, "state">): "dead" | "killed" | "success" =>
  state === "error" ? "dead" : state;
