import type { Duplex } from "node:stream";

/** The stream once this event has come; rejects when it fails or is closed before, or with the signal's reason. */
export const opened = <Stream extends Duplex>(stream: Stream, event: "connect" | "secureConnect", signal: AbortSignal): Promise<Stream> =>
  new Promise((resolve, reject) => {
    const settle = (end: () => void) => {
      signal.removeEventListener("abort", abort);
      stream.removeListener(event, arrived);
      stream.removeListener("error", failed);
      stream.removeListener("close", closed);
      end();
    };
    const arrived = () => settle(() => resolve(stream));
    const failed = (error: Error) => settle(() => reject(error));
    const closed = () => settle(() => reject(new Error("the connection was closed while it was made")));
    const abort = () =>
      settle(() => {
        stream.on("error", () => undefined);
        stream.destroy();
        reject(signal.reason);
      });
    stream.once(event, arrived);
    stream.once("error", failed);
    stream.once("close", closed);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
