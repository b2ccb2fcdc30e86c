import type { Duplex } from "node:stream";
import type { ForwardPlace, LinkOptions } from "../core/ports.ts";
import { Problem } from "../core/problems.ts";
import { encodeFrame, FrameChannel, WireError } from "../protocol/codec.ts";
import { Failure, REQUEST_SINCE, Reply } from "../protocol/frames.ts";
import { handshake, is, nextFrame } from "./handshake.ts";
import { within } from "./retry.ts";

/** Until a connection is dialled, proved and joined; the driver itself waits ten seconds for the place. */
const JOIN_MS = 20_000;

/**
 * A connection of its own to a place in the driver: proved like a link, then plain bytes.
 * @throws Problem DRIVER_UNREACHABLE (also when nothing listens at the place), NOT_SUPPORTED (a driver of an older release), or the
 * signal's reason
 */
export const openForward = async (options: LinkOptions, to: ForwardPlace, signal: AbortSignal): Promise<Duplex> => {
  try {
    return await within(JOIN_MS, "the driver took too long", signal, (soon) => join(options, to, soon));
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Problem) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new Problem("DRIVER_UNREACHABLE", `The driver cannot be reached: ${why}.`, { cause: error });
  }
};

const join = async (options: LinkOptions, to: ForwardPlace, signal: AbortSignal): Promise<Duplex> => {
  const channel = new FrameChannel(await options.dial(signal));
  try {
    const { version } = await handshake(channel, options, signal);
    if (version < (REQUEST_SINCE.forward ?? 1))
      throw new Problem("NOT_SUPPORTED", "The driver was started by an older release that shows no Spark UI: a new session can.");
    channel.send(encodeFrame({ frame: "forward", request: 1, to }), "control");
    const answer = await nextFrame(channel, signal);
    if (is(Failure, answer)) throw new Problem("DRIVER_UNREACHABLE", answer.message);
    if (!is(Reply, answer)) throw new WireError("the driver answered something else");
    return channel.release();
  } catch (error) {
    await channel.close();
    throw error;
  }
};
