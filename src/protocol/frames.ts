import { type Static, type TProperties, Type } from "typebox";

/**
 * The wire between the server and a driver's supervisor, defined once. `emit.ts` prints the Python types, the JSON Schema and
 * `docs/protocol.md` from what stands here.
 *
 * Rules that schemas cannot say:
 * - one JSON object a line, UTF-8, `\n` at the end; a line longer than PIECE_BYTES travels as `part` frames (see `codec.ts`);
 * - unknown fields and unknown record types are ignored, known ones are validated;
 * - every request carries a `request` number chosen by the server, answered by exactly one `reply` or `failure` with that number;
 * - lone surrogates never stand in a frame: the sender replaces them by U+FFFD.
 */

/** Versions this server speaks, oldest first. The highest one that both ends know is used. */
export const PROTOCOL_VERSIONS = [1, 2, 3, 4, 5] as const;

/** A frame whose line is longer than this is cut into `part` frames, so that control never waits behind bulk. */
export const PIECE_BYTES = 256 * 1024;

/** The longest frame, reassembled, that either side accepts. Code of 64 MiB fits with its JSON escapes. */
export const FRAME_LIMIT_BYTES = 160 * 1024 * 1024;

const Int = Type.Integer();
/** What a Date can be. */
const time = (description: string) => Type.Integer({ description, minimum: 0, maximum: 8_640_000_000_000_000 });
const Text = Type.String();
const StatementId = Type.Integer({
  description: "Given by the driver: 0, 1, 2 … per session; silent statements get -1, -2 … and no face lists them.",
});
const Kind = Type.Union([Type.Literal("pyspark"), Type.Literal("sql"), Type.Literal("spark"), Type.Literal("sparkr")]);
export type Kind = Static<typeof Kind>;

/** MIME type → value: a string (base64 for binary types) or, for JSON types, any JSON value. */
const MimeBundle = Type.Record(Text, Type.Unknown());
const Metadata = Type.Record(Text, Type.Unknown());
const Origin = Type.Unknown({
  description: "Opaque to the driver, kept with the statement: whatever the face needs to route late output.",
});

const frame = <Name extends string, Properties extends TProperties>(name: Name, description: string, properties: Properties) =>
  Type.Object({ frame: Type.Literal(name), ...properties }, { description });

// ── Handshake: challenge → prove → hello ────────────────────────────────────────────────────────────────────────────────────

/** driver → server, at once after the connection is there. */
export const Challenge = frame("challenge", "The driver's first words on a new connection.", {
  versions: Type.Array(Int, { description: "Protocol versions the driver knows." }),
  nonce: Type.String({ description: "32 random bytes, base64url without padding." }),
});

/** server → driver. */
export const Prove = frame("prove", "The server's proof that it knows the session's key.", {
  version: Type.Integer({ description: "The version both will speak; 0 when there is no common one." }),
  session: Type.String({ description: "The claim's uid." }),
  nonce: Type.String({ description: "32 random bytes, base64url without padding." }),
  proof: Type.String({ description: "See PROOF_TEXT in the protocol's docs; role `server`." }),
});

/** driver → server, after a good proof; a bad one is answered with `refused` and a closed connection. */
export const Hello = frame("hello", "The driver's proof, and where its records stand.", {
  version: Int,
  session: Text,
  epoch: Type.String({ description: "One life of a supervisor; another value means another life." }),
  firstSeq: Type.Integer({ description: "The oldest record still kept." }),
  lastSeq: Type.Integer({ description: "The newest record; firstSeq - 1 when there is none." }),
  proof: Type.String({ description: "Role `driver`." }),
});

export const Refused = frame("refused", "The driver closes the connection after this.", {
  code: Type.Union([Type.Literal("version"), Type.Literal("proof")]),
  message: Text,
});

// ── Requests: server → driver ───────────────────────────────────────────────────────────────────────────────────────────────

const request = <Name extends string, Properties extends TProperties>(name: Name, description: string, properties: Properties) =>
  frame(name, description, { request: Type.Integer({ description: "Number of the request on this connection." }), ...properties });

const CommMessage = {
  event: Type.Union([Type.Literal("open"), Type.Literal("msg"), Type.Literal("close")]),
  comm: Type.String({ minLength: 1, maxLength: 255, description: "The channel's id." }),
  target: Type.Union([Text, Type.Null()], { description: "With open: what it is opened to." }),
  data: Type.Record(Text, Type.Unknown()),
  metadata: Metadata,
  buffers: Type.Array(Text, { description: "Binary attachments, each in base64." }),
};

export const Requests = {
  attach: request("attach", "Ask for the records after a position. Answered with replay or reset, then records as they come.", {
    epoch: Type.Union([Text, Type.Null()], { description: "The epoch the server followed; null when it follows none." }),
    afterSeq: Type.Integer({ description: "The last record the server has; 0 for none." }),
  }),
  read: request("read", "Fetch old records that the server did not keep.", {
    fromSeq: Int,
    toSeq: Int,
    limitBytes: Type.Integer({ description: "Stop after about so many bytes; `nextSeq` says where to go on." }),
  }),
  submit: request("submit", "Queue a statement. The same key answers the same statement and runs once.", {
    key: Type.String({ minLength: 1, maxLength: 255 }),
    code: Text,
    kind: Kind,
    origin: Origin,
    stopOnError: Type.Boolean({ description: "When this statement fails, drop what the same client (origin.client) queued behind it." }),
    silent: Type.Boolean({ description: "Runs without a place in history and without a Livy-visible statement." }),
    stdin: Type.Boolean({ description: "Whether somebody can answer input(); without, input() raises at once." }),
  }),
  cancel: request("cancel", "Drop a queued statement, or interrupt it when it runs. A second one, a second later, takes the last rung.", {
    statement: StatementId,
    restart: Type.Boolean({ description: "Go straight to the last rung: restart the interpreter." }),
  }),
  interrupt: request("interrupt", "Interrupt whatever runs now.", {}),
  complete: request("complete", "Completions at a cursor; works while a statement runs.", {
    code: Text,
    kind: Kind,
    cursor: Type.Integer({ minimum: 0, description: "In Unicode code points." }),
  }),
  inspect: request("inspect", "What is known about the name at a cursor; works while a statement runs.", {
    code: Text,
    kind: Kind,
    cursor: Type.Integer({ minimum: 0, description: "In Unicode code points." }),
    detail: Type.Integer({ minimum: 0, maximum: 1 }),
  }),
  answer: request("answer", "What the user typed for an `input` record.", {
    statement: StatementId,
    value: Text,
    question: Type.Optional(
      Type.Integer({
        description: "Since version 5. Number of that record: a later question of the statement's does not take the answer.",
      }),
    ),
  }),
  touch: request("touch", "Somebody looked at the session: the heartbeat's clock starts anew.", { client: Text }),
  restart: request("restart", "A new interpreter in the same driver; temp views, cache and jobs are cleared.", {}),
  close: request("close", "End the driver: cancel, stop Spark, exit.", {
    state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success")]),
    reason: Text,
  }),
  ping: request("ping", "Since version 2. Answered at once, and no sign of life of anybody's.", {}),
  upload: request("upload", "Since version 2. A piece of a file for the session; pieces of one upload come in order.", {
    upload: Type.String({
      minLength: 1,
      maxLength: 64,
      pattern: "^[\\w-]+$",
      description: "Names the upload; the same piece again changes nothing.",
    }),
    name: Type.String({ minLength: 1, maxLength: 255, description: "The file's name, without a directory." }),
    offset: Type.Integer({ minimum: 0, description: "Where in the file the piece belongs." }),
    data: Type.String({ description: "The piece in base64." }),
    last: Type.Boolean(),
  }),
  cell: request("cell", "Since version 3. Like submit, with what notebooks ask for besides.", {
    key: Type.String({ minLength: 1, maxLength: 255 }),
    code: Text,
    kind: Kind,
    origin: Origin,
    stopOnError: Type.Boolean(),
    silent: Type.Boolean(),
    stdin: Type.Boolean(),
    stored: Type.Boolean({ description: "Whether it has a place and a number in the interpreter's history." }),
    expressions: Type.Record(Text, Text, { description: "Evaluated when it ended well: name → expression." }),
    parent: Type.String({ description: "The name that front ends know it by; widgets catch output by it." }),
  }),
  comm: request(
    "comm",
    "Since version 3. A front end's message to an object in the interpreter, queued as a silent statement of its own.",
    {
      key: Type.String({ minLength: 1, maxLength: 255 }),
      origin: Origin,
      parent: Text,
      ...CommMessage,
    },
  ),
  comms: request("comms", "Since version 3. Which channels between front ends and objects in the interpreter are open.", {}),
  parse: request("parse", "Since version 3. Whether code can run as it stands.", { code: Text }),
  forward: request(
    "forward",
    "Since version 3. Join this connection to a place in the driver: bytes of that place follow the reply, and the protocol is over. The " +
      "connection must not be attached; nothing may be sent on it before the reply.",
    { to: Type.Literal("ui", { description: "Spark's UI, plain or TLS as the facts' uiUrl says." }) },
  ),
  awaited: request("awaited", "Since version 4. Which files the driver waits for before it starts Spark.", {}),
  supply: request("supply", "Since version 4. A piece of a file that the driver waits for; pieces come in order.", {
    upload: Type.String({ description: "The upload's id." }),
    name: Type.String({ description: "The upload's name." }),
    offset: Type.Integer({ minimum: 0, description: "Where in the file the piece belongs; what is there already changes nothing." }),
    data: Type.String({ description: "The piece in base64." }),
    last: Type.Boolean(),
    sha256: Type.String({ description: "Of the whole file, in hex; with the last piece it must be so." }),
  }),
  log: request("log", "Lines of the driver's log that the server did not keep.", {
    fromLine: Type.Integer({ description: "Number of the first line wanted, from 0." }),
    lines: Type.Integer({ minimum: 0 }),
  }),
} as const;
export type RequestName = keyof typeof Requests;

/** The first version that has a request; all others were there from the beginning. */
export const REQUEST_SINCE: Readonly<Partial<Record<RequestName, number>>> = {
  ping: 2,
  upload: 2,
  cell: 3,
  comm: 3,
  comms: 3,
  parse: 3,
  forward: 3,
  awaited: 4,
  supply: 4,
};

const StatementState = Type.Union([
  Type.Literal("waiting"),
  Type.Literal("running"),
  Type.Literal("cancelling"),
  Type.Literal("available"),
  Type.Literal("cancelled"),
]);

/** What a snapshot says of a statement whose records are no longer all there. */
export const StatementSummary = Type.Object({
  statement: StatementId,
  key: Text,
  code: Type.String({ description: "Cut when it was very long; `codeCut` says so." }),
  codeCut: Type.Boolean(),
  kind: Kind,
  origin: Origin,
  silent: Type.Boolean(),
  state: StatementState,
  queuedMs: time("Unix time in milliseconds."),
  startedMs: time("0 when not started."),
  finishedMs: time("0 when not finished."),
  outcome: Type.Union([Type.Literal("ok"), Type.Literal("error"), Type.Literal("cancelled"), Type.Literal("lost"), Type.Null()]),
  ename: Type.Union([Text, Type.Null()]),
  evalue: Type.Union([Text, Type.Null()]),
  firstSeq: Int,
  lastSeq: Int,
});
export type StatementSummary = Static<typeof StatementSummary>;

const SparkFacts = Type.Object(
  {
    python: Text,
    spark: Text,
    appId: Type.Union([Text, Type.Null()]),
    uiUrl: Type.Union([Text, Type.Null()]),
    sparkUser: Type.Union([Text, Type.Null()]),
    ipython: Type.Union([Text, Type.Null()], { description: "IPython's version; null when it is not there." }),
  },
  { description: "What an interpreter that is ready knows." },
);

const Snapshot = Type.Object({
  statements: Type.Array(StatementSummary, { description: "Statements some of whose records are no longer kept, in order of id." }),
  nextStatement: Type.Integer({ description: "The id the next visible statement will get." }),
  interpreter: Type.Union([Type.Literal("starting"), Type.Literal("ready"), Type.Literal("exited")]),
  facts: Type.Union([SparkFacts, Type.Null()]),
  logTotal: Type.Integer({ description: "Lines of log so far." }),
  logTail: Type.Array(Text),
});
export type Snapshot = Static<typeof Snapshot>;

// ── Records: driver → server, numbered ──────────────────────────────────────────────────────────────────────────────────────

const record = <Name extends string, Properties extends TProperties>(type: Name, description: string, properties: Properties) =>
  Type.Object(
    {
      frame: Type.Literal("record"),
      seq: Type.Integer({ minimum: 1 }),
      atMs: time("Unix time in milliseconds, on the driver's clock."),
      type: Type.Literal(type),
      ...properties,
    },
    { description },
  );

export const Records = {
  queued: record("queued", "A statement was accepted.", {
    statement: StatementId,
    key: Text,
    code: Text,
    kind: Kind,
    origin: Origin,
    silent: Type.Boolean(),
  }),
  started: record("started", "The statement was handed to the interpreter.", {
    statement: StatementId,
    count: Type.Optional(
      Type.Integer({
        description: "Since version 3. Its number in the interpreter's history; of one that has no place there, the last number.",
      }),
    ),
  }),
  stream: record("stream", "Text a statement wrote.", {
    statement: StatementId,
    name: Type.Union([Type.Literal("stdout"), Type.Literal("stderr")]),
    via: Type.Union([Type.Literal("python"), Type.Literal("process")], {
      description: "`python`: through sys.stdout or sys.stderr. `process`: bytes that reached a file descriptor or the JVM's stdout.",
    }),
    text: Type.String({ description: "At most 256 KiB." }),
  }),
  display: record("display", "A rich output, or the update of one.", {
    statement: StatementId,
    data: MimeBundle,
    metadata: Metadata,
    displayId: Type.Union([Text, Type.Null()]),
    update: Type.Boolean(),
  }),
  clear: record("clear", "Clear the statement's output.", { statement: StatementId, wait: Type.Boolean() }),
  result: record("result", "The value of the last expression.", { statement: StatementId, data: MimeBundle, metadata: Metadata }),
  error: record("error", "The statement raised.", {
    statement: StatementId,
    ename: Text,
    evalue: Text,
    traceback: Type.Array(Text, { description: "Lines, each with its own newline at the end." }),
  }),
  progress: record("progress", "Spark jobs of the running statement. Only the newest is kept.", {
    statement: StatementId,
    fraction: Type.Number({ minimum: 0, maximum: 1 }),
    jobs: Type.Array(
      Type.Object({
        job: Int,
        status: Text,
        stages: Type.Array(Type.Object({ stage: Int, name: Text, tasks: Int, active: Int, completed: Int, failed: Int })),
      }),
    ),
  }),
  input: record("input", "The statement waits for an answer.", { statement: StatementId, prompt: Text, password: Type.Boolean() }),
  answered: record("answered", "Since version 5. The statement has the answer to what its last `input` record asked.", {
    statement: StatementId,
  }),
  cancelling: record("cancelling", "A rung of the cancel ladder was taken.", {
    statement: StatementId,
    rung: Type.Union([Type.Literal("jobs"), Type.Literal("signal"), Type.Literal("restart")]),
  }),
  finished: record("finished", "The statement's end; nothing of it but late output follows.", {
    statement: StatementId,
    outcome: Type.Union([Type.Literal("ok"), Type.Literal("error"), Type.Literal("cancelled"), Type.Literal("lost")]),
    rung: Type.Union([Type.Literal("queue"), Type.Literal("jobs"), Type.Literal("signal"), Type.Literal("restart"), Type.Null()], {
      description: "Which rung of the ladder ended a cancelled statement.",
    }),
  }),
  returned: record("returned", "Since version 3. What a cell has for its front end besides outputs.", {
    statement: StatementId,
    payload: Type.Array(Type.Record(Text, Type.Unknown()), { description: "As in Jupyter's execute_reply: pages, next inputs." }),
    expressions: Type.Record(Text, Type.Unknown(), { description: "name → status, and data or error." }),
  }),
  comm: record("comm", "Since version 3. A message of an object in the interpreter to front ends.", {
    statement: StatementId,
    ...CommMessage,
  }),
  dropped: record("dropped", "Output that is not kept: a bound was reached.", {
    statement: StatementId,
    bytes: Type.Integer({ description: "Bytes dropped since the last mark." }),
  }),
  interpreter: record("interpreter", "The interpreter's life; where an application runs in its place, what is known of its Spark.", {
    phase: Type.Union([Type.Literal("starting"), Type.Literal("ready"), Type.Literal("exited")]),
    reason: Type.Union([Text, Type.Null()]),
    facts: Type.Union([SparkFacts, Type.Null()]),
  }),
  executors: record("executors", "How many executors have come.", { count: Int }),
  log: record("log", "New lines of the driver's log: supervisor, JVM, bytes on file descriptors.", {
    line: Type.Integer({ description: "Number of the first of these lines, from 0." }),
    lines: Type.Array(Text),
  }),
  ending: record("ending", "The driver is about to exit and will not come back.", {
    state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success"), Type.Literal("error")]),
    reason: Text,
  }),
} as const;
export type RecordType = keyof typeof Records;

/** The first version that has a record; all others were there from the beginning. */
export const RECORD_SINCE: Readonly<Partial<Record<RecordType, number>>> = { returned: 3, comm: 3, answered: 5 };

// ── Answers: driver → server ────────────────────────────────────────────────────────────────────────────────────────────────

export const Replies = {
  attach: Type.Object({
    mode: Type.Union([Type.Literal("replay"), Type.Literal("reset")]),
    snapshot: Type.Union([Snapshot, Type.Null()], { description: "With reset; records from hello's firstSeq follow." }),
  }),
  read: Type.Object({ records: Type.Array(Type.Unknown()), nextSeq: Int }),
  submit: Type.Object({ statement: StatementId }),
  cancel: Type.Object({ state: Type.Union([StatementState, Type.Null()], { description: "null: no such statement." }) }),
  interrupt: Type.Object({ statement: Type.Union([StatementId, Type.Null()], { description: "null: nothing ran." }) }),
  complete: Type.Object({ matches: Type.Array(Text), start: Int, end: Int, metadata: Metadata }),
  inspect: Type.Object({ found: Type.Boolean(), data: MimeBundle, metadata: Metadata }),
  answer: Type.Object({ taken: Type.Boolean() }),
  touch: Type.Object({}),
  restart: Type.Object({}),
  close: Type.Object({}),
  ping: Type.Object({}),
  upload: Type.Object({
    path: Type.Union([Text, Type.Null()], { description: "Where the driver has the file, once the last piece is there." }),
  }),
  cell: Type.Object({ statement: StatementId }),
  comm: Type.Object({ statement: StatementId }),
  comms: Type.Object({ comms: Type.Record(Text, Text, { description: "id → target" }) }),
  parse: Type.Object({
    status: Type.Union([Type.Literal("complete"), Type.Literal("incomplete"), Type.Literal("invalid"), Type.Literal("unknown")]),
    indent: Type.String({ description: "With incomplete: what the next line begins with." }),
  }),
  forward: Type.Object({}),
  awaited: Type.Object({
    files: Type.Array(
      Type.Object({
        upload: Type.String({ description: "The upload's id." }),
        name: Type.String({ description: "The upload's name." }),
        offset: Type.Integer({ description: "How much of it is there." }),
      }),
    ),
  }),
  supply: Type.Object({ offset: Type.Integer({ description: "How much of the file is there: where the next piece begins." }) }),
  log: Type.Object({ fromLine: Int, total: Int, lines: Type.Array(Text) }),
} as const satisfies Record<RequestName, unknown>;

export const Reply = frame("reply", "The good answer to a request.", { request: Int, result: Type.Unknown() });
export const Failure = frame("failure", "The bad answer to a request.", {
  request: Int,
  code: Type.String({
    description: "`invalid`, `gone` (records no longer kept), `full` (a queue's bound), `ending`, `unavailable`, `internal`.",
  }),
  message: Text,
});

export const Part = frame("part", "A piece of a frame that is too long for one line; pieces of several frames may alternate.", {
  of: Type.Integer({ description: "Number of the cut frame on this connection and direction." }),
  text: Type.String({ description: "A piece of the frame's JSON text." }),
  last: Type.Boolean(),
});

// ── Types ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

export type Challenge = Static<typeof Challenge>;
export type Prove = Static<typeof Prove>;
export type Hello = Static<typeof Hello>;
export type Refused = Static<typeof Refused>;
export type Reply = Static<typeof Reply>;
export type Failure = Static<typeof Failure>;
export type Part = Static<typeof Part>;
export type SparkFacts = Static<typeof SparkFacts>;

export type RequestFrame<Name extends RequestName = RequestName> = { [Key in Name]: Static<(typeof Requests)[Key]> }[Name];
/** A request without what the link adds to it. */
export type RequestBody<Name extends RequestName> = Omit<Static<(typeof Requests)[Name]>, "frame" | "request">;
export type ReplyResult<Name extends RequestName> = Static<(typeof Replies)[Name]>;
export type RecordFrame<Name extends RecordType = RecordType> = { [Key in Name]: Static<(typeof Records)[Key]> }[Name];

/** The text both ends sign with HMAC-SHA256 under the session's key; the proof is its base64url without padding. */
export const proofText = (
  role: "server" | "driver",
  facts: { versions: readonly number[]; version: number; session: string; driverNonce: string; serverNonce: string },
): string =>
  ["longwick-link", role, facts.versions.join(","), String(facts.version), facts.session, facts.driverNonce, facts.serverNonce].join("\n");
