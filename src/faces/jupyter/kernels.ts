import { Compile } from "typebox/compile";
import type { Caller, Right } from "../../core/access.ts";
import { publishAudit, publishSession } from "../../core/events.ts";
import { kernelIdOf } from "../../core/kernel-id.ts";
import type { Presets } from "../../core/presets.ts";
import { Problem } from "../../core/problems.ts";
import type { Session } from "../../core/session.ts";
import type { Sessions } from "../../core/sessions.ts";
import type { SessionSpec } from "../../core/spec.ts";
import { checkDirectory, checkUris, type PathRules } from "../livy/paths.ts";
import { CreateSession } from "../livy/schemas.ts";
import { readPresetName, readSpec, type SpecRules } from "../livy/spec.ts";
import { Kernel, type KernelParts } from "./kernel.ts";
import { Kernelspecs } from "./kernelspecs.ts";
import type { LaunchWish } from "./launch-request.ts";
import type { Content } from "./messages.ts";

const EVERYBODY: Caller = { name: null, remote: null };
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const CheckedSession = Compile(CreateSession);

export interface KernelsOptions {
  readonly sessions: Sessions;
  readonly presets: Presets;
  readonly spec: SpecRules;
  readonly paths: PathRules;
  readonly version: string;
  readonly launchDisplayMs: number;
}

/** Sessions as kernels: every session has a kernel's id, those that were started as kernels are listed. */
export class Kernels {
  readonly kernelspecs: Kernelspecs;
  readonly #options: KernelsOptions;
  readonly #parts: KernelParts;
  readonly #known = new Map<string, Kernel>();
  readonly #ids = new WeakMap<Session, string>();

  constructor(options: KernelsOptions, closing: AbortSignal) {
    this.#options = options;
    this.kernelspecs = new Kernelspecs(options.presets);
    const { version, launchDisplayMs } = options;
    const shutDown = (kernel: Kernel) => {
      this.shutDown(kernel).catch((error: unknown) => {
        publishSession({ session: kernel.session.id, event: "fault", detail: `its kernel could not be shut down: ${String(error)}` });
      });
    };
    const replace: KernelParts["replace"] = (kernel, asked, signal) => this.#replace(kernel, asked, signal);
    this.#parts = { version, launchDisplayMs, serverStartMs: Date.now(), closing, shutDown, replace };
    // The server goes, the kernels stay: clients are to come back.
    closing.addEventListener("abort", () => {
      for (const kernel of this.#known.values()) kernel.close(1012, "the server restarts");
    });
  }

  /**
   * Makes sure that a kernel which another server has just started is known here. Costs nothing when it is.
   * @throws Problem DRIVER_UNREACHABLE when it cannot be found out whether there is one
   */
  async seek(id: string): Promise<void> {
    if (UUID.test(id) && this.#known.get(id)?.replacing !== true && this.#sessionOf(id) === undefined)
      await this.#options.sessions.seekKernel(id);
  }

  /**
   * The kernel of this id, if its session lives and the caller has the right.
   * @throws Problem SESSION_NOT_FOUND, FORBIDDEN
   */
  find(id: string, caller: Caller, right: Right): Kernel {
    const known = this.#known.get(id);
    const session = known?.replacing === true ? known.session : this.#sessionOf(id);
    if (session === undefined) throw new Problem("SESSION_NOT_FOUND", `Kernel does not exist: ${id.slice(0, 100)}`);
    if (!this.#options.sessions.may(caller, right, session))
      throw new Problem("FORBIDDEN", `User '${caller.name}' may not ${right} session ${session.id}.`);
    return this.#kernelOf(session);
  }

  /** Kernels that were started as such, and sessions that somebody has attached to. */
  list(caller: Caller): readonly Kernel[] {
    this.#tidy();
    const replaced = [...this.#known.values()].filter(
      ({ replacing, session }) => replacing && this.#options.sessions.may(caller, "view", session),
    );
    const living = this.#options.sessions
      .list(caller)
      .filter((session) => session.end === null && (session.spec.kernel !== undefined || this.#known.has(this.idOf(session))))
      .map((session) => this.#kernelOf(session));
    return [...new Set([...replaced, ...living])];
  }

  /**
   * Attaches to a session or starts one; the driver need not be there yet.
   * @throws Problem what `Sessions.create` and the reading of a session's fields throw
   */
  async start(wish: LaunchWish, caller: Caller, signal: AbortSignal): Promise<Kernel> {
    this.#tidy();
    if (wish.session !== null) {
      await this.#options.sessions.seek(wish.session);
      return this.#attach(wish.session, caller);
    }
    const spec = this.kernelspecs.find(wish.name ?? this.kernelspecs.default, caller);
    const { directory, notes } = await this.#directoryFor(wish);
    const kernel = { name: spec.name, id: null, keep: wish.keep, path: wish.path, directory };
    return this.#kernelOf(await this.launch({ ...spec.session, ...wish.asked }, kernel, [...wish.notes, ...notes], caller, signal));
  }

  /** Relative paths mean in a cell what they mean beside the notebook, where drivers may work there. */
  async #directoryFor({ directory }: LaunchWish): Promise<{ readonly directory: string | null; readonly notes: readonly string[] }> {
    if (directory === null) return { directory: null, notes: [] };
    const checked = await checkDirectory(directory, this.#options.paths);
    if ("directory" in checked) return { directory: checked.directory, notes: [] };
    return { directory: null, notes: [`The driver does not work in the notebook's directory: ${checked.refused}.`] };
  }

  /** A new session for a kernel. */
  async launch(
    asked: Content,
    kernel: NonNullable<SessionSpec["kernel"]>,
    remarks: readonly string[],
    caller: Caller,
    signal: AbortSignal,
  ): Promise<Session> {
    const { spec, notes } = await this.#read(asked, caller);
    return this.#options.sessions.create({ owner: caller.name, spec: { ...spec, kernel }, notes: [...remarks, ...notes] }, caller, signal);
  }

  async #read(asked: Content, caller: Caller): Promise<ReturnType<typeof readSpec>> {
    const { sessions, presets, spec: rules, paths } = this.#options;
    sessions.checkOpen();
    if (!CheckedSession.Check(asked)) throw new Problem("INVALID", complaint(asked));
    const preset = presets.choose(readPresetName(asked), caller);
    const { spec, notes } = readSpec({ body: { kind: "pyspark", ...asked }, doAs: undefined, preset }, rules);
    return { spec: await checkUris(spec, paths, caller), notes };
  }

  async #replace(kernel: Kernel, asked: Content, signal: AbortSignal): Promise<void> {
    const { session } = kernel;
    const owner = { name: session.owner, remote: null };
    const { spec, notes } = await this.#read(asked, owner);
    const remembered = session.spec.kernel ?? { name: kernel.name, keep: false, path: null };
    kernel.replacing = true;
    try {
      // First, so that its name and its place among the user's sessions are free.
      await this.#options.sessions.delete(session, "its kernel was configured anew");
      const draft = { owner: owner.name, spec: { ...spec, kernel: { ...remembered, id: kernel.id } }, notes };
      const next = await this.#options.sessions.create(draft, owner, signal);
      kernel.succeed(next);
      const { id, proxyUser } = next;
      publishAudit({ action: "create", user: owner.name, remote: null, proxyUser, session: id, statement: null, problem: null });
    } catch (error) {
      kernel.publishStatus("dead");
      throw error;
    } finally {
      kernel.replacing = false;
    }
  }

  /** Ends the kernel's session, unless it was there before the kernel or is to stay. */
  async shutDown(kernel: Kernel): Promise<void> {
    const { session } = kernel;
    if (session.spec.kernel === undefined || session.spec.kernel.keep) return;
    this.#known.delete(kernel.id);
    await this.#options.sessions.delete(session, "its Jupyter kernel was shut down");
  }

  idOf(session: Session): string {
    const known = this.#ids.get(session);
    if (known !== undefined) return known;
    const id = kernelIdOf(session);
    this.#ids.set(session, id);
    return id;
  }

  #attach(idOrName: string, caller: Caller): Kernel {
    const session = this.#options.sessions.find(idOrName, caller, "modify");
    if (session.end !== null) throw new Problem("SESSION_ENDED", `Session ${session.id} has ended: ${session.end.reason}`);
    return this.#kernelOf(session);
  }

  /** The living session of a kernel's id; the newest, where one went on for another. */
  #sessionOf(id: string): Session | undefined {
    return this.#options.sessions.list(EVERYBODY).findLast((session) => session.end === null && this.idOf(session) === id);
  }

  #kernelOf(session: Session): Kernel {
    const id = this.idOf(session);
    const known = this.#known.get(id);
    if (known !== undefined) {
      if (known.session !== session) known.succeed(session);
      return known;
    }
    const kernel = new Kernel(id, session.spec.kernel?.name ?? this.kernelspecs.default, session, this.#parts);
    this.#known.set(id, kernel);
    return kernel;
  }

  /** Forgets what has ended and nobody looks at. */
  #tidy(): void {
    for (const [id, { session, connections }] of this.#known) if (session.end !== null && connections === 0) this.#known.delete(id);
  }
}

const complaint = (asked: Content): string => {
  const [first] = CheckedSession.Errors(asked);
  return `What the kernel asks of its session is not well-formed: ${first?.instancePath.slice(1).replaceAll("/", ".") ?? ""} ${first?.message ?? ""}.`;
};
