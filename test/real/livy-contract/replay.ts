import type { Answer } from "../../kit/http.ts";
import { exchange } from "../../kit/http.ts";
import { ENDED_SESSION, FINAL_STATEMENT, Livy, type SessionInfo, type Statement } from "../../kit/livy.ts";
import { until } from "../../kit/until.ts";
import { compare, type Difference } from "./differences.ts";
import { AS_IT_IS, type Naming, normalise } from "./normalise.ts";
import { isPending, type Line, type RecordedRequest, type RecordedResponse, requestBody } from "./recording.ts";

/** What `record.py` waited for between two requests, as conditions where it slept. */
const BEFORE: Readonly<Record<string, "running" | "progress">> = {
  "delete while busy": "running",
  "queue: all": "running",
  "spark job: cancel": "progress",
  "endless loop: cancel": "running",
  interrupt: "running",
};

const UNSETTLED: ReadonlySet<string> = new Set(["not_started", "starting", "recovering", "busy", "shutting_down"]);

export interface Outcome {
  readonly differences: readonly Difference[];
  /** Exchanges that were compared. */
  readonly compared: number;
  /** Cases that wait for a capability that is not there yet. */
  readonly pending: readonly string[];
}

/** Our counterparts of a recorded session and its statements. */
interface Counterpart {
  readonly id: number;
  readonly statements: Map<number, number>;
  readonly placeholders: Set<number>;
  extraStatements: number;
  dropped: boolean;
}

/**
 * Plays one section of the recording against a server, request after request in the recorded order, with recorded ids turned into ours,
 * and compares each answer. Sessions are made, shared and dropped where the recorder did so.
 */
export const replay = async (url: string, lines: readonly Line[]): Promise<Outcome> => {
  const player = new Player(url);
  try {
    for (const line of lines) await player.play(line);
    return { differences: player.differences, compared: player.compared, pending: player.pending };
  } finally {
    await player.close();
  }
};

class Player {
  readonly differences: Difference[] = [];
  readonly pending: string[] = [];
  compared = 0;
  readonly #livy: Livy;
  readonly #sessions = new Map<number, Counterpart>();
  /** The newest session; a recorded id that is met next belongs to it when `#unbound`. */
  #newest: Counterpart | null = null;
  #unbound = false;

  constructor(url: string) {
    this.#livy = new Livy(url);
  }

  async play(line: Line): Promise<void> {
    if (line.observed !== undefined) return this.#observe(line, line.observed);
    if (line.request === undefined || line.response === undefined) throw new Error(`${line.case}: neither an exchange nor an observation`);
    if (isPending(line)) {
      this.pending.push(`${line.section}: ${line.case}`);
      return this.#holdPlace(line.request, line.response);
    }
    await this.#exchange(line, line.request, line.response);
  }

  async close(): Promise<void> {
    await this.#drop();
    this.#livy.close();
  }

  // ── Exchanges ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #exchange(line: Line, request: RecordedRequest, recorded: RecordedResponse): Promise<void> {
    const creates = request.method === "POST" && /^\/sessions\/?$/.test(request.path);
    if (creates && recorded.status === 201) await this.#drop();
    this.#bind(request.path);
    const path = this.#ourPath(request.path);
    await this.#waitBefore(line, request, recorded, path);
    const answer = await exchange(this.#livy.url, {
      method: request.method,
      path,
      headers: request.headers,
      body: requestBody(request),
      timeoutMs: 120_000,
    });
    if (creates) await this.#created(line.section, recorded, answer);
    if (request.method === "POST" && request.path.endsWith("/statements")) this.#posted(request.path, recorded, answer);
    if (request.method === "DELETE" && answer.status === 200) this.#gone(request.path);
    const session = this.#sessionOf(request.path);
    const ours = AS_IT_IS((id) => session?.placeholders.has(id) === true);
    this.differences.push(
      ...compare(
        line,
        normalise(request.method, request.path, recorded, this.#naming(session)),
        normalise(request.method, path, answer, ours),
      ),
    );
    this.compared += 1;
  }

  /** Keeps the ids of what follows in step: a statement stands where a pending one stood. */
  async #holdPlace(request: RecordedRequest, recorded: RecordedResponse): Promise<void> {
    const session = this.#sessionOf(request.path);
    const id = idOf(recorded.body);
    if (session === undefined || recorded.status !== 201 || id === null || !request.path.endsWith("/statements")) return;
    const statement = await this.#livy.run(session.id, "None", "pyspark");
    session.statements.set(id, statement.id);
    session.placeholders.add(statement.id);
  }

  /** The recorder read results at their end, and slept before it did what needs something to run, or nothing. */
  async #waitBefore(line: Line, request: RecordedRequest, recorded: RecordedResponse, path: string): Promise<void> {
    const name = line.case;
    const wanted = BEFORE[name];
    const session = this.#newest;
    if (wanted !== undefined && session !== null) await this.#busy(session.id, wanted);
    const ended = request.method === "GET" && /^\/sessions\/\d+\/statements\/\d+$/.test(path);
    const reads = session !== null && !session.dropped && wanted === undefined && !request.path.endsWith("/statements");
    // What was done to a session shows in it once it has settled.
    const settles = reads && (line.section === "death" || JSON.stringify(recorded.body).includes('"state":"idle"'));
    // What stays open although the recording has it ended shows as a difference, not as a hang.
    const look = async (of: string, final: (status: number, state: string) => boolean) => {
      await until(`${name}: its end`, 30_000, async () => {
        const { status, body } = await this.#livy.ask("GET", of);
        return final(status, stateOf(body)) ? true : undefined;
      }).catch(() => undefined);
    };
    if (ended) await look(path, (status, state) => status !== 200 || FINAL_STATEMENT.has(state));
    if (settles) await look(`/sessions/${session.id}`, (status, state) => status !== 200 || !UNSETTLED.has(state));
  }

  async #busy(session: number, wanted: "running" | "progress"): Promise<void> {
    await until(`session ${session}: a statement ${wanted}`, 30_000, async () => {
      const { statements } = await this.#livy.statements(session);
      const found = statements.find(
        (statement: Statement) => statement.state === "running" && (wanted === "running" || statement.progress > 0),
      );
      return found === undefined ? undefined : true;
    });
  }

  // ── Sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #created(section: string, recorded: RecordedResponse, answer: Answer): Promise<void> {
    const ours = answer.status === 201 ? idOf(answer.body) : null;
    const theirs = recorded.status === 201 ? idOf(recorded.body) : null;
    if (theirs !== null) this.#sessions.set(theirs, this.#meet(ours ?? NOBODY));
    // The recorder drops what it got by surprise; we too what only we made.
    if (ours !== null && (theirs === null || section === "create_errors")) await this.#livy.delete(ours);
  }

  #meet(id: number): Counterpart {
    this.#newest = { id, statements: new Map(), placeholders: new Set(), extraStatements: 0, dropped: false };
    return this.#newest;
  }

  #posted(path: string, recorded: RecordedResponse, answer: Answer): void {
    const session = this.#sessionOf(path);
    if (session === undefined) return;
    const ours = answer.status === 201 ? idOf(answer.body) : null;
    const theirs = recorded.status === 201 ? idOf(recorded.body) : null;
    if (theirs !== null) session.statements.set(theirs, ours ?? NOBODY);
    session.extraStatements += Number(ours !== null) - Number(theirs !== null);
  }

  /** The first recorded id after a session was made without a recorded exchange is that session's. */
  #bind(path: string): void {
    const id = sessionIn(path);
    if (!this.#unbound || id === null || this.#newest === null) return;
    this.#sessions.set(id, this.#newest);
    this.#unbound = false;
  }

  #gone(path: string): void {
    const session = this.#sessionOf(path);
    if (session !== undefined) session.dropped = true;
  }

  async #drop(): Promise<void> {
    if (this.#newest !== null && !this.#newest.dropped) {
      this.#newest.dropped = true;
      await this.#livy.ask("DELETE", `/sessions/${this.#newest.id}`);
    }
  }

  #sessionOf(path: string): Counterpart | undefined {
    const id = sessionIn(path);
    if (id !== null) return this.#sessions.get(id);
    return path.startsWith("/sessions/") ? (this.#newest ?? undefined) : undefined;
  }

  #ourPath(path: string): string {
    const session = sessionIn(path) === null ? undefined : this.#sessionOf(path);
    if (session === undefined) return path;
    return path.replace(/^\/sessions\/\d+(\/statements\/(\d+))?/, (_all, _statements, statement: string | undefined) => {
      const place = statement === undefined ? "" : `/statements/${session.statements.get(Number(statement)) ?? statement}`;
      return `/sessions/${session.id}${place}`;
    });
  }

  #naming(session: Counterpart | undefined): Naming {
    return {
      session: (id) => this.#sessions.get(id)?.id,
      statement: (id) => session?.statements.get(id),
      isPlaceholder: (id) => session?.placeholders.has(id) === true,
      extraStatements: session?.extraStatements ?? 0,
    };
  }

  /** The recorder ran 105 statements, 0 to 104, without a line for each. */
  async #fill(session: Counterpart): Promise<void> {
    for (let number = 0; number < 105; number += 1) {
      const { id } = await this.#livy.run(session.id, String(number));
      session.statements.set(number, id);
    }
  }

  // ── Observations ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #observe(line: Line, observed: Readonly<Record<string, unknown>>): Promise<void> {
    const fresh = /^states of a new session (\{.*\})$/.exec(line.case);
    if (fresh !== null) {
      await this.#drop();
      const fields: object = JSON.parse(String(fresh[1]).replaceAll("'", '"'));
      const session = this.#meet((await this.#livy.ready(fields)).id);
      this.#unbound = true;
      if (line.section === "retention") await this.#fill(session);
      return;
    }
    // Another run of the same request, kept for its speed; and what became of a session whose interpreter died.
    if (isPending(line) || line.case.includes("another run") || line.case.endsWith("ended the session")) return;
    const seen = line.case === "states of it, never asked by id" ? await this.#untilReaped() : await this.#lastSeen(observed);
    const recorded = line.case === "states of it, never asked by id" ? "gone" : lastOf(observed);
    if (JSON.stringify(seen) !== JSON.stringify(recorded)) {
      this.differences.push({ section: line.section, case: line.case, what: "observed", livy: recorded, ours: seen });
    }
  }

  /** Follows a session's states, or a statement's with its session's, to the last one that was recorded. */
  async #lastSeen(observed: Readonly<Record<string, unknown>>): Promise<unknown> {
    const session = this.#newest;
    if (session === null) throw new Error("an observation without a session");
    const target = lastOf(observed);
    if (!("watch" in observed)) {
      return until(`session ${session.id}: ${String(target)}`, 90_000, async () => {
        const { status, body } = await this.#livy.ask("GET", `/sessions/${session.id}/state`);
        if (status !== 200) return `HTTP ${status}`;
        return stateOf(body) === target || ENDED_SESSION.has(stateOf(body)) ? stateOf(body) : undefined;
      });
    }
    const newest = Math.max(...[...session.statements.values()].filter((id) => id !== NOBODY));
    const { state, progress } = await this.#livy.finished(session.id, newest);
    return [state, progress, (await this.#livy.session(session.id)).state];
  }

  /** A heartbeat timeout: the session is looked for in the list alone, which is nobody's heartbeat. */
  async #untilReaped(): Promise<string> {
    const id = this.#newest?.id;
    return until("a session nobody asks for is ended", 75_000, async () => {
      const { sessions } = await this.#livy.expect<{ sessions: readonly SessionInfo[] }>(200, "GET", "/sessions?size=1000");
      const found = sessions.find((session) => session.id === id);
      return found === undefined || ENDED_SESSION.has(found.state) ? "gone" : undefined;
    });
  }
}

/** Stands for a session or statement that the recording has and we refused: nobody's id, so that what follows says "not found". */
const NOBODY = 2_000_000_000;

const sessionIn = (path: string): number | null => {
  const match = /^\/sessions\/(\d+)(?:[/?]|$)/.exec(path);
  return match === null ? null : Number(match[1]);
};

const idOf = (body: unknown): number | null =>
  typeof body === "object" && body !== null && "id" in body && typeof body.id === "number" ? body.id : null;

const stateOf = (body: unknown): string => (typeof body === "object" && body !== null && "state" in body ? String(body.state) : "");

/** The end of a recorded sequence: [seconds, state] or [seconds, statement state, progress, session state]. */
const lastOf = (observed: Readonly<Record<string, unknown>>): unknown => {
  const sequence = observed["watch"] ?? observed["states"];
  const last: unknown = Array.isArray(sequence) ? sequence.at(-1) : undefined;
  if (!Array.isArray(last)) throw new Error(`no sequence in ${JSON.stringify(observed)}`);
  return last.length === 2 ? last[1] : last.slice(1);
};
