import { type Static, Type } from "typebox";
import { END_CAUSES, type EndState } from "../core/states.ts";

/** What both a supervisor and a claim tell of an end, but for its state. */
const TOLD = {
  reason: Type.String(),
  logTail: Type.Array(Type.String()),
  appId: Type.Union([Type.String(), Type.Null()]),
  cause: Type.Optional(Type.Enum([...END_CAUSES])),
  exitCode: Type.Optional(Type.Integer()),
};

/** How a session or an attempt ended, as its claim has it. */
export const WrittenEnd = Type.Object({
  ...TOLD,
  state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success")]),
  endedMs: Type.Integer(),
  logLines: Type.Optional(Type.Integer()),
  onlyTail: Type.Optional(Type.Boolean()),
  launch: Type.Optional(Type.Array(Type.String())),
});

/** Attempts that have ended, as their claim has them. */
export const WrittenAttempts = Type.Array(Type.Object({ ...WrittenEnd.properties, nextMs: Type.Integer() }));

/** Written by a supervisor when it ends by itself: python-shim/spark_shim/termination.py. */
export const Termination = Type.Object({
  ...TOLD,
  state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success"), Type.Literal("error")]),
});

/** `error` is a word for drivers that are up and broken; nothing follows an end. */
export const endStateOf = ({ state }: Pick<Static<typeof Termination>, "state">): EndState => (state === "error" ? "dead" : state);
