import { randomUUID } from "node:crypto";
import type { Kernel } from "./kernel.ts";
import type { Content, Request } from "./messages.ts";
import { asideHtml, escapeHtml, seconds } from "./text.ts";

/** While nothing changes the time that has passed is shown anew so often. */
const TICK_MS = 1_000;

/** Says in the cell that waits for Spark what is being waited for, and in one line at the end how it went. */
export class LaunchDisplay {
  readonly #kernel: Kernel;
  readonly #parent: string;
  readonly #id = `longwick-launch-${randomUUID()}`;
  #shown = "";
  open = true;

  constructor(kernel: Kernel, request: Request) {
    this.#kernel = kernel;
    this.#parent = request.header;
  }

  async run(closing: AbortSignal): Promise<void> {
    const kernel = this.#kernel;
    const begunMs = performance.now();
    const { session } = kernel;
    try {
      while (kernel.session === session && kernel.executionState === "starting") {
        const waitedMs = performance.now() - begunMs;
        const dueMs = kernel.parts.launchDisplayMs - waitedMs;
        if (dueMs <= 0)
          this.#show(`Spark is starting: ${session.pendingReason || "the driver is up"} · ${seconds(Date.now() - session.createdMs)}`);
        await session.changed(session.revision, dueMs > 0 ? dueMs : TICK_MS, closing);
      }
    } finally {
      this.open = false;
    }
    if (this.#shown === "") return;
    const { facts, end } = session;
    const ready = facts === null ? "Spark is ready" : `Spark ${facts.spark} is ready`;
    const application = facts?.appId == null ? "" : ` · ${facts.appId}`;
    this.#show(
      end === null
        ? `${ready}${application} · started in ${seconds(Date.now() - session.createdMs)}`
        : `Spark did not start: ${end.reason}`,
    );
  }

  #show(line: string): void {
    const content: Content = {
      data: { "text/plain": line, "text/html": asideHtml(escapeHtml(line)) },
      metadata: {},
      transient: { display_id: this.#id },
    };
    this.#kernel.publish({ type: this.#shown === "" ? "display_data" : "update_display_data", content, parent: this.#parent });
    this.#shown = line;
  }
}
