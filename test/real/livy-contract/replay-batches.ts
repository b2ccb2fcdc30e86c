import { exchange } from "../../kit/http.ts";
import { ENDED_SESSION, Livy } from "../../kit/livy.ts";
import { until } from "../../kit/until.ts";
import { compare, type Difference } from "./differences.ts";
import { AS_IT_IS, type Naming, normalise } from "./normalise.ts";
import { type Line, type RecordedRequest, type RecordedResponse, requestBody } from "./recording.ts";
import type { Outcome } from "./replay.ts";

/** The applications that `record.py` wrote. */
export const RECORDED_APPLICATIONS = {
  "good.py": "print('hello from the app')\n",
  "failing.py": "raise SystemExit(3)\n",
  "slow.py": "import time\ntime.sleep(60)\n",
} as const;
const RECORDED_DIRECTORY = "/tmp/livy-apps/";

/** Plays the recorded batches against a server that may read these applications in `directory`. */
export const replayBatches = async (url: string, directory: string, lines: readonly Line[]): Promise<Outcome> => {
  const livy = new Livy(url);
  const player = new BatchPlayer(livy, directory);
  try {
    for (const line of lines) await player.play(line);
    return { differences: player.differences, compared: player.compared, pending: [] };
  } finally {
    livy.close();
  }
};

class BatchPlayer {
  readonly differences: Difference[] = [];
  compared = 0;
  readonly #livy: Livy;
  readonly #directory: string;
  /** Recorded ids and ours. */
  readonly #ids = new Map<number, number>();
  #newest = NOBODY;

  constructor(livy: Livy, directory: string) {
    this.#livy = livy;
    this.#directory = directory;
  }

  async play(line: Line): Promise<void> {
    if (line.observed !== undefined) return this.#observe(line, line.observed);
    if (line.request === undefined || line.response === undefined) throw new Error(`${line.case}: neither an exchange nor an observation`);
    await this.#exchange(line, line.request, line.response);
  }

  async #exchange(line: Line, request: RecordedRequest, recorded: RecordedResponse): Promise<void> {
    const path = request.path.replace(/^\/batches\/(\d+)/, (_all, id: string) => `/batches/${this.#ids.get(Number(id)) ?? id}`);
    const sent = requestBody(request)?.toString().replaceAll(`file://${RECORDED_DIRECTORY}`, `file://${this.#directory}/`) ?? null;
    const { method, headers } = request;
    if (method === "GET" && stateOf(recorded.body) === "running")
      await this.#livy.batchIn(path.split("/")[2] ?? "", ["running"]).catch(() => undefined);
    const answer = await exchange(this.#livy.url, { method, path, headers, body: sent, timeoutMs: 120_000 });
    if (method === "POST") {
      this.#newest = idOf(answer.body) ?? NOBODY;
      const theirs = idOf(recorded.body);
      if (theirs !== null) this.#ids.set(theirs, this.#newest);
      // What only we made is of no more use.
      else if (this.#newest !== NOBODY) await this.#livy.deleteBatch(this.#newest);
    }
    const ours = AS_IT_IS(() => false);
    this.differences.push(...compare(line, normalise(method, request.path, recorded, this.#naming), normalise(method, path, answer, ours)));
    this.compared += 1;
  }

  get #naming(): Naming {
    return { session: (id) => this.#ids.get(id), statement: () => undefined, isPlaceholder: () => false, extraStatements: 0 };
  }

  /** The recorder watched each to its end. */
  async #observe(line: Line, observed: Readonly<Record<string, unknown>>): Promise<void> {
    const states = observed["states"] as readonly (readonly [number, string])[];
    const recorded = states.at(-1)?.[1];
    const id = line.case.startsWith("failing") ? this.#ids.get(7) : line.case.startsWith("good") ? this.#ids.get(6) : this.#newest;
    const seen = await until(`batch ${id} at its end`, 120_000, async () => {
      const { status, body } = await this.#livy.ask("GET", `/batches/${id}/state`);
      if (status !== 200) return `HTTP ${status}`;
      return ENDED_SESSION.has(stateOf(body)) ? stateOf(body) : undefined;
    });
    if (seen !== recorded) this.differences.push({ section: line.section, case: line.case, what: "observed", livy: recorded, ours: seen });
  }
}

/** Stands for a batch that the recording has and we refused. */
const NOBODY = 2_000_000_000;

const idOf = (body: unknown): number | null =>
  typeof body === "object" && body !== null && "id" in body && typeof body.id === "number" ? body.id : null;
const stateOf = (body: unknown): string => (typeof body === "object" && body !== null && "state" in body ? String(body.state) : "");
