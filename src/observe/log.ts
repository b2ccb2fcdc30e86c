import { stdout } from "node:process";
import type { FastifyBaseLogger } from "fastify";
import { type DestinationStream, type LoggerOptions, pino } from "pino";

/** Where log lines go; a terminal gets them in a form for eyes. */
export interface LogStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/** The log: one JSON object a line, fields rather than sentences; on a terminal the time, the level, the message and the fields. */
export const openLog = (level: string, stream: LogStream = stdout): FastifyBaseLogger => {
  const options: LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    // Whoever logs a request by mistake logs no credentials.
    redact: { paths: ["headers.authorization", "headers.cookie", "req.headers.authorization", "req.headers.cookie"], remove: true },
  };
  const destination: DestinationStream =
    stream.isTTY === true ? { write: (line) => stream.write(readable(line)) } : { write: (line) => stream.write(line) };
  return pino(options, destination);
};

const readable = (line: string): string => {
  // Written by pino just before.
  const { level, time, msg, err, ...fields } = JSON.parse(line) as { level: string; time: string; msg?: string; err?: { stack?: string } };
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const stack = err?.stack === undefined ? "" : `\n${err.stack}`;
  return `${[time.slice(11, 19), level.padEnd(5), msg ?? "", ...rest].join(" ")}${stack}\n`;
};
