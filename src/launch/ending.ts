import { type Static, Type } from "typebox";
import type { EndState } from "../core/states.ts";

/** How a session ended, as its claim has it. */
export const WrittenEnd = Type.Object({
  state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success")]),
  reason: Type.String(),
  logTail: Type.Array(Type.String()),
  endedMs: Type.Integer(),
  appId: Type.Union([Type.String(), Type.Null()]),
});

/** Written by a supervisor when it ends by itself: python-shim/spark_shim/termination.py. */
export const Termination = Type.Object({
  state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success"), Type.Literal("error")]),
  reason: Type.String(),
  logTail: Type.Array(Type.String()),
  appId: Type.Union([Type.String(), Type.Null()]),
});

/** `error` is a word for drivers that are up and broken; nothing follows an end. */
export const endStateOf = ({ state }: Static<typeof Termination>): EndState => (state === "error" ? "dead" : state);
