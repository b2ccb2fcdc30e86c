import { Problem } from "../../core/problems.ts";
import { REDACTED } from "../../core/redaction.ts";
import type { SessionSpec } from "../../core/spec.ts";
import { isFinalStatement } from "../../core/states.ts";
import type { Connection } from "./connection.ts";
import type { Kernel } from "./kernel.ts";
import { LaunchDisplay } from "./launch-display.ts";
import { type Content, flag, isContent, type Request, textOf } from "./messages.ts";

const WAIT_MS = 60_000;
const MAGIC = /^\s*%%configure(?<options>[^\n]*)\n?(?<body>[\s\S]*)$/;

export const isConfigure = (code: string): boolean => MAGIC.test(code);

/**
 * `%%configure [-f]` with the fields of a POST /sessions, in Sparkmagic's words: the kernel gets a new session with other settings. Cells
 * sent before it run first, those sent after it run in the new session.
 */
export const configure = (kernel: Kernel, connection: Connection, request: Request): void =>
  kernel.outbox.push(request, { task: () => run(kernel, connection, request) }, connection.options.caller);

const run = async (kernel: Kernel, connection: Connection, request: Request): Promise<void> => {
  const { header: parent, content: asked, session: to } = request;
  const code = textOf(asked, "code");
  kernel.publishStatus("busy", parent);
  kernel.publish({ type: "execute_input", content: { code, execution_count: 0 }, parent });
  const content = await apply(kernel, request, code).then(
    () => ({ status: "ok", execution_count: 0, payload: [], user_expressions: {} }),
    (error: unknown) => {
      const evalue = error instanceof Error ? error.message : String(error);
      const failure = { ename: "ConfigureError", evalue, traceback: [evalue] };
      kernel.publish({ type: "error", content: failure, parent });
      if (flag(asked, "stop_on_error", true)) kernel.outbox.drop(to);
      return { status: "error", execution_count: 0, ...failure, payload: [], user_expressions: {} };
    },
  );
  (kernel.routeOf(to) ?? connection).post(kernel.message({ channel: "shell", type: "execute_reply", content, parent, to }));
  kernel.publishStatus("idle", parent);
};

const apply = async (kernel: Kernel, request: Request, code: string): Promise<void> => {
  const { options = "", body = "" } = MAGIC.exec(code)?.groups ?? {};
  const force = optionsOf(options);
  const wanted = bodyOf(body);
  const { session } = kernel;
  const { closing } = kernel.parts;
  while (session.end === null && session.heardAfter(session.lastSeq).some((statement) => !isFinalStatement(statement.state)))
    await session.changed(session.revision, WAIT_MS, closing);
  const used = session.end === null && session.executionCount > 0;
  if (used && !force) {
    throw new Problem(
      "INVALID",
      "A session has already been started. If you intend to recreate the session with new configurations, please include the -f argument.",
    );
  }
  const { asked, leftOut } = merged(session.spec, wanted);
  await kernel.parts.replace(kernel, asked, closing);
  if (leftOut.length > 0) {
    const text = `Left out, since secrets are not kept; give it again if it is needed: ${leftOut.join(", ")}\n`;
    kernel.publish({ type: "stream", content: { name: "stderr", text }, parent: request.header });
  }
  const display = new LaunchDisplay(kernel, request);
  await display.run(closing);
  const { end } = kernel.session;
  if (end !== null) throw new Problem("SESSION_ENDED", `Spark did not start with these settings: ${end.reason}`);
};

const optionsOf = (text: string): boolean => {
  const words = text
    .trim()
    .split(/\s+/)
    .filter((word) => word !== "");
  const unknown = words.find((word) => word !== "-f" && word !== "--force");
  if (unknown !== undefined) throw new Problem("INVALID", `%%configure knows -f (--force) alone, not ${unknown.slice(0, 50)}.`);
  return words.length > 0;
};

const bodyOf = (text: string): Content => {
  let body: unknown;
  try {
    body = JSON.parse(text.trim() || "{}");
  } catch (cause) {
    throw new Problem("INVALID", `Could not parse JSON object from input '${text.trim().slice(0, 200)}'`, { cause });
  }
  if (!isContent(body)) throw new Problem("INVALID", '%%configure needs a JSON object: {"driverMemory": "2g", "conf": {}}.');
  return body;
};

const SCALARS = [
  ...(["name", "proxyUser", "queue", "driverMemory", "driverCores", "executorMemory", "executorCores", "numExecutors"] as const),
  ...(["ttl", "idleTimeout"] as const),
];
const LISTS = ["jars", "pyFiles", "files", "archives"] as const;

interface Merged {
  readonly asked: Content;
  /** What is not asked for again, since a secret in it is not known here. */
  readonly leftOut: readonly string[];
}

const isWhole = (text: string): boolean => !text.includes(REDACTED);

/** What the session before was asked for, and over it what is wanted now. */
const merged = (spec: SessionSpec, wanted: Content): Merged => {
  const { conf: more } = wanted;
  const wantedConf = isContent(more) ? more : {};
  const conf = Object.entries(spec.conf).filter(([key]) => !Object.hasOwn(wantedConf, key));
  const lists = LISTS.filter((name) => !Object.hasOwn(wanted, name)).map((name) => [name, spec[name]] as const);
  return {
    asked: {
      ...(spec.preset === undefined ? {} : { preset: spec.preset.name }),
      ...Object.fromEntries(SCALARS.map((name) => [name, spec[name]]).filter(([, value]) => value !== null && value !== 0)),
      ...Object.fromEntries(lists.map(([name, uris]) => [name, uris.filter(isWhole)])),
      ...wanted,
      conf: { ...Object.fromEntries(conf.filter(([, value]) => isWhole(value))), ...wantedConf },
    },
    leftOut: [
      ...conf.flatMap(([key, value]) => (isWhole(value) ? [] : [key])),
      ...lists.flatMap(([name, uris]) => uris.flatMap((uri) => (isWhole(uri) ? [] : [`${name} ${uri}`]))),
    ],
  };
};
