import http from "node:http";
import { type Answer, type Exchange, exchange } from "./http.ts";
import { until } from "./until.ts";

export type Output =
  | { readonly status: "ok"; readonly execution_count: number; readonly data: Readonly<Record<string, unknown>> }
  | {
      readonly status: "error";
      readonly execution_count: number;
      readonly ename: string;
      readonly evalue: string;
      readonly traceback: readonly string[];
    };

export interface Statement {
  readonly id: number;
  readonly code: string;
  readonly state: string;
  readonly output: Output | null;
  readonly progress: number;
  readonly started: number;
  readonly completed: number;
}

export interface SessionInfo {
  readonly id: number;
  readonly name: string | null;
  readonly appId: string | null;
  readonly state: string;
  readonly kind: string;
  readonly log: readonly string[];
}

export interface AttemptInfo {
  readonly attempt: number;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly state: string | null;
  readonly reason: string | null;
  readonly cause: string | null;
  readonly exitCode: number | null;
  readonly appId: string | null;
}

export interface BatchInfo {
  readonly id: number;
  readonly name: string | null;
  readonly appId: string | null;
  readonly state: string;
  readonly appInfo: { readonly driverLogUrl: string | null; readonly sparkUiUrl: string | null; readonly executorLogUrls: string | null };
  readonly log: readonly string[];
  readonly longwick: {
    readonly uid: string;
    readonly createdMs: number;
    readonly endedMs: number;
    readonly reason: string | null;
    readonly cause: string | null;
    readonly exitCode: number | null;
    readonly historyUrl: string | null;
    readonly attempts: readonly AttemptInfo[];
  };
}

export const FINAL_STATEMENT: ReadonlySet<string> = new Set(["available", "error", "cancelled"]);
export const ENDED_SESSION: ReadonlySet<string> = new Set(["dead", "killed", "success", "error"]);

/** What a statement printed and answered as text; its error's name and text when it failed. */
export const textOf = (statement: Statement): string => {
  if (statement.output === null) return "";
  if (statement.output.status === "error") return `${statement.output.ename}: ${statement.output.evalue}`;
  return String(statement.output.data["text/plain"] ?? "");
};

/** A plain Livy client on kept-alive connections. */
export class Livy {
  readonly url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #agent = new http.Agent({ keepAlive: true });

  constructor(url: string, headers: Readonly<Record<string, string>> = {}) {
    this.url = url;
    this.#headers = headers;
  }

  ask(method: string, path: string, body: Exchange["body"] = null, timeoutMs = 60_000): Promise<Answer> {
    return exchange(this.url, { method, path, body, headers: this.#headers, timeoutMs }, this.#agent);
  }

  /** The body of an answer that must have this status. */
  async expect<Body>(status: number, method: string, path: string, body: Exchange["body"] = null, timeoutMs = 60_000): Promise<Body> {
    const answer = await this.ask(method, path, body, timeoutMs);
    if (answer.status !== status) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)?.slice(0, 500)}`);
    // A test's border: what the server answers is looked at by the assertions that follow.
    return answer.body as Body;
  }

  create(fields: object = { kind: "pyspark" }): Promise<SessionInfo> {
    return this.expect<SessionInfo>(201, "POST", "/sessions", fields);
  }

  session(id: number | string): Promise<SessionInfo> {
    return this.expect<SessionInfo>(200, "GET", `/sessions/${id}`);
  }

  /** Waits until the session is in one of these states; rejects at once when it ended in another. */
  inState(id: number | string, states: readonly string[], deadlineMs = 90_000): Promise<SessionInfo> {
    return until(`session ${id} ${states.join(" or ")}`, deadlineMs, async () => {
      const session = await this.session(id);
      if (states.includes(session.state)) return session;
      if (ENDED_SESSION.has(session.state)) throw new Error(`session ${id} is ${session.state}: ${session.log.join("\n")}`);
      return undefined;
    });
  }

  /** A session that takes code. */
  async ready(fields: object = { kind: "pyspark" }): Promise<SessionInfo> {
    return this.inState((await this.create(fields)).id, ["idle"]);
  }

  createBatch(fields: object): Promise<BatchInfo> {
    return this.expect<BatchInfo>(201, "POST", "/batches", fields);
  }

  batch(id: number | string): Promise<BatchInfo> {
    return this.expect<BatchInfo>(200, "GET", `/batches/${id}`);
  }

  /** Waits until the batch is in one of these states; rejects at once when it ended in another. */
  batchIn(id: number | string, states: readonly string[], deadlineMs = 120_000): Promise<BatchInfo> {
    return until(`batch ${id} ${states.join(" or ")}`, deadlineMs, async () => {
      const batch = await this.batch(id);
      if (states.includes(batch.state)) return batch;
      if (ENDED_SESSION.has(batch.state)) throw new Error(`batch ${id} is ${batch.state}: ${(await this.batchLog(id)).join("\n")}`);
      return undefined;
    });
  }

  /** Its whole log. */
  async batchLog(id: number | string): Promise<readonly string[]> {
    return (await this.expect<{ log: readonly string[] }>(200, "GET", `/batches/${id}/log?size=-1`)).log;
  }

  deleteBatch(id: number | string): Promise<unknown> {
    return this.expect(200, "DELETE", `/batches/${id}`);
  }

  submit(session: number, code: string, kind?: string): Promise<Statement> {
    return this.expect<Statement>(201, "POST", `/sessions/${session}/statements`, kind === undefined ? { code } : { code, kind });
  }

  statement(session: number, id: number, waitMs = 0): Promise<Statement> {
    return this.expect<Statement>(200, "GET", `/sessions/${session}/statements/${id}?wait=${waitMs}`);
  }

  statements(session: number): Promise<{ total_statements: number; statements: readonly Statement[] }> {
    return this.expect(200, "GET", `/sessions/${session}/statements`);
  }

  /** The statement once nothing follows its state. */
  finished(session: number, id: number, deadlineMs = 60_000): Promise<Statement> {
    return until(`statement ${id} of session ${session} at its end`, deadlineMs, async () => {
      const statement = await this.statement(session, id);
      return FINAL_STATEMENT.has(statement.state) ? statement : undefined;
    });
  }

  running(session: number, id: number, deadlineMs = 30_000): Promise<Statement> {
    return until(`statement ${id} of session ${session} running`, deadlineMs, async () => {
      const statement = await this.statement(session, id);
      if (FINAL_STATEMENT.has(statement.state)) throw new Error(`it has ended: ${textOf(statement)}`);
      return statement.state === "running" ? statement : undefined;
    });
  }

  async run(session: number, code: string, kind?: string, deadlineMs = 60_000): Promise<Statement> {
    const { id } = await this.submit(session, code, kind);
    return this.finished(session, id, deadlineMs);
  }

  cancel(session: number, statement: number): Promise<unknown> {
    return this.expect(200, "POST", `/sessions/${session}/statements/${statement}/cancel`);
  }

  delete(session: number | string): Promise<unknown> {
    return this.expect(200, "DELETE", `/sessions/${session}`);
  }

  close(): void {
    this.#agent.destroy();
  }
}
