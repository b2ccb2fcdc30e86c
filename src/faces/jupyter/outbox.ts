import type { Caller } from "../../core/access.ts";
import { publishAudit } from "../../core/events.ts";
import { Problem } from "../../core/problems.ts";
import type { CellBody, CommBody, Session } from "../../core/session.ts";
import type { Kernel } from "./kernel.ts";
import { LaunchDisplay } from "./launch-display.ts";
import type { Content, Request } from "./messages.ts";
import { errorContent } from "./translate.ts";

/** The longest a timer can wait. */
const FOREVER_MS = 2 ** 31 - 1;
/** Lines of a dead driver's log that a cell shows. */
const LOG_LINES = 15;

/** What a cell is told that the driver has not got, or perhaps has. */
const NOT_RUN = ["NotRun", "this has not run. Run it again when the server is back"] as const;
const UNANSWERED = ["Unanswered", "it is not known whether this has run. Look before you run it again"] as const;

/** A cell, a message to an object in the interpreter, or what the server does itself while what came after it waits. */
export type Parcel = { readonly cell: CellBody } | { readonly comm: CommBody } | { readonly task: () => Promise<void> };

interface Item {
  readonly request: Request;
  readonly parcel: Parcel;
  readonly caller: Caller;
}

/** What may wait for a driver that is not there yet. */
const WAITING = 10_000;
const WAITING_CHARS = 128 * 1024 * 1024;
const sizeOf = ({ parcel }: Item): number =>
  "cell" in parcel ? parcel.cell.code.length : "comm" in parcel ? parcel.comm.buffers.reduce((sum, each) => sum + each.length, 1_000) : 0;

const submit = (session: Session, parcel: Exclude<Parcel, { task: unknown }>, signal: AbortSignal): Promise<number> =>
  "cell" in parcel ? session.cell(parcel.cell, signal) : session.comm(parcel.comm, signal);
const isShown = (parcel: Parcel): boolean => "cell" in parcel && !parcel.cell.silent;

/** Statements on their way to the driver, in the order they came. While it cannot be reached they wait here. */
export class Outbox {
  readonly #kernel: Kernel;
  #items: Item[] = [];
  /** On their way to the driver. */
  readonly #underway = new Set<Item>();
  #sending = false;
  /** Whose task is being done now. */
  task: Request | null = null;
  #display: LaunchDisplay | null = null;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  push(request: Request, parcel: Parcel, caller: Caller): void {
    const item = { request, parcel, caller };
    if (this.#items.length >= WAITING || this.#chars + sizeOf(item) > WAITING_CHARS) {
      this.#fail(item, new Problem("TOO_MANY_STATEMENTS", "Too many cells wait for Spark already: try again when it has started."));
      return;
    }
    this.#items.push(item);
    if (isShown(parcel) && this.#kernel.executionState === "starting") this.#showLaunch(request);
    if (!this.#sending) void this.#send();
  }

  /** Requests that the driver has not answered for yet. */
  get waiting(): readonly Request[] {
    return [...this.#underway, ...this.#items].map(({ request }) => request);
  }

  get #chars(): number {
    return this.#items.reduce((sum, item) => sum + sizeOf(item), 0);
  }

  /** What waits is not run; of one client alone when it is named. */
  drop(client: string | null = null): void {
    const { executionCount } = this.#kernel.session;
    const aborted = { status: "aborted", execution_count: executionCount, ename: "Aborted", evalue: "", traceback: [] };
    const dropped = this.#items.filter(({ request }) => client === null || request.session === client);
    this.#items = this.#items.filter((item) => !dropped.includes(item));
    for (const { request } of dropped) this.#reply(request, aborted, null);
  }

  /** The server goes: clients that cannot send again by themselves are told of what the driver has not got. Call it before their sockets are closed. */
  leave(): void {
    const unsure = this.#kernel.session.up ? [] : [...this.#underway];
    for (const item of [...unsure, ...this.#items]) {
      const client = this.#kernel.routeOf(item.request.session);
      if (client === undefined || client.options.counted || client.findsCells) continue;
      const [name, what] = unsure.includes(item) ? UNANSWERED : NOT_RUN;
      this.#fail(item, new Error(`The server ends, and the driver could not be reached: ${what}.`), name);
    }
    this.#items = [];
  }

  async #send(): Promise<void> {
    this.#sending = true;
    const { closing } = this.#kernel.parts;
    try {
      while (this.#items.length > 0) {
        const [first] = this.#items;
        if (first !== undefined && "task" in first.parcel) {
          this.#items.shift();
          this.task = first.request;
          await first.parcel.task().finally(() => {
            this.task = null;
          });
          continue;
        }
        await this.#kernel.session.reachable(FOREVER_MS, closing);
        const item = this.#items[0] === first ? this.#items.shift() : undefined;
        if (item === undefined || "task" in item.parcel) continue;
        const { parcel, caller } = item;
        const { session } = this.#kernel;
        this.#underway.add(item);
        // The link keeps their order; nobody waits for an answer here.
        submit(session, parcel, closing)
          .then((statement) => {
            if ("cell" in parcel) auditStatement(caller, session, statement);
          })
          .catch((error: unknown) => {
            if (!closing.aborted) this.#fail(item, error);
          })
          .finally(() => this.#underway.delete(item));
      }
    } catch {
      // The server goes away; whoever waits asks the next one.
    } finally {
      this.#sending = false;
    }
  }

  #showLaunch(request: Request): void {
    if (this.#display?.open === true) return;
    this.#display = new LaunchDisplay(this.#kernel, request);
    void this.#display.run(this.#kernel.parts.closing).catch(() => undefined);
  }

  /** The statement was never queued, as far as is known: its cell says why. */
  #fail({ request, parcel }: Item, error: unknown, name: string = NOT_RUN[0]): void {
    // Nobody is at the other end, and the front end is told so in the words it knows.
    if ("comm" in parcel && parcel.comm.event === "open")
      this.#kernel.publish({ type: "comm_close", content: { comm_id: parcel.comm.comm, data: {} }, parent: request.header });
    const { session } = this.#kernel;
    const { end } = session;
    const evalue = end === null ? reasonOf(error) : `The Spark driver has ended: ${end.reason}`;
    const log = end === null ? [] : ["", "The end of its log:", ...session.logTail(LOG_LINES)];
    const failure = errorContent({ ename: end === null ? name : "SparkDriverEnded", evalue, traceback: [evalue, ...log] });
    this.#reply(
      request,
      { status: "error", execution_count: 0, ...failure, payload: [], user_expressions: {} },
      isShown(parcel) ? failure : null,
    );
  }

  #reply({ header: parent, session: to, type }: Request, content: Content, failure: Content | null): void {
    const kernel = this.#kernel;
    kernel.publishStatus("busy", parent);
    if (failure !== null) kernel.publish({ type: "error", content: failure, parent });
    if (type === "execute_request") {
      kernel.routeOf(to)?.post(kernel.message({ channel: "shell", type: "execute_reply", content, parent, to }));
    }
    kernel.publishStatus("idle", parent);
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const auditStatement = ({ name: user, remote }: Caller, { id: session, proxyUser }: Session, statement: number): void =>
  publishAudit({ action: "submit", user, remote, proxyUser, session, statement, problem: null });
