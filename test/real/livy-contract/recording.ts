import { readFileSync } from "node:fs";

/** One line of what a real Livy 0.9.0 answered: an exchange, or states that were seen on the way. */
export interface Line {
  readonly section: string;
  readonly case: string;
  readonly request?: RecordedRequest;
  readonly response?: RecordedResponse;
  readonly observed?: Readonly<Record<string, unknown>>;
}

export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | object | null;
}

export interface RecordedResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

const FIXTURE = new URL("../../fixtures/livy-0.9.0.jsonl", import.meta.url);

/** The recording, in the order in which it was made. */
export const readRecording = (): readonly Line[] =>
  readFileSync(FIXTURE, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    // The fixture is ours: its shape is the interface above.
    .map((line) => JSON.parse(line) as Line);

const PENDING_KINDS: ReadonlySet<unknown> = new Set(["spark", "scala", "sparkr", "r"]);

/** Whether a line waits for a capability that is not there yet: Scala and R. */
export const isPending = (line: Line): boolean => {
  if (/^(create )?kind (spark|scala|sparkr|r)(:|$)/.test(line.case)) return true;
  const body = line.request?.body;
  return typeof body === "object" && body !== null && "kind" in body && PENDING_KINDS.has(body.kind);
};

/** The request's bytes as they were sent: the recording holds byte strings as Python shows them, and cuts long code. */
export const requestBody = (request: RecordedRequest): Buffer | null => {
  const { body } = request;
  if (body === null) return null;
  if (typeof body === "object") return Buffer.from(JSON.stringify(body, restoreCode));
  return body.startsWith("b'") ? pythonBytes(body.slice(2, -1)) : Buffer.from(body);
};

/** `y = 'zzz... [N characters]` was `y = '` + z… + `'\nlen(y)`. */
const restoreCode = (_key: string, value: unknown): unknown => {
  const cut = typeof value === "string" ? /^y = 'z+\.\.\. \[(\d+) characters\]$/.exec(value) : null;
  if (cut === null) return value;
  const [head, tail] = ["y = '", "'\nlen(y)"];
  return head + "z".repeat(Number(cut[1]) - head.length - tail.length) + tail;
};

const pythonBytes = (shown: string): Buffer =>
  Buffer.from(
    shown.replaceAll(/\\(?:x([0-9a-f]{2})|(.))/g, (_all, hex: string | undefined, plain: string) =>
      hex === undefined ? plain : String.fromCharCode(Number.parseInt(hex, 16)),
    ),
    "latin1",
  );
