import type { FastifyBaseLogger } from "fastify";
import type { Config } from "./config.ts";
import type { Prepared } from "./prepare.ts";
import { openServer } from "./server.ts";

/** What the server process says to a person, apart from its log. */
export type Say = (line: string) => void;

/**
 * The server process: listens until SIGTERM or SIGINT, then gives what is under way its time and leaves; sessions go on without it. A
 * second signal leaves at once. Resolves when the server has gone.
 */
export const serve = async (
  config: Config,
  prepared: Prepared | null,
  version: string,
  log: FastifyBaseLogger,
  say: Say,
): Promise<void> => {
  const server = await openServer(config, prepared, version, log);
  for (const line of welcome(server.url, config)) say(line);
  await untilSignal();
  leaveInTime(config, log);
  const living = server.living();
  await server.close();
  if (living > 0) {
    say(
      `${living} session${living === 1 ? " goes" : "s go"} on without the server. Start it again to have them back; each ends itself after its idle timeout.`,
    );
  }
};

/** Beyond `drainMs` closing takes milliseconds, but for deletions under way, which the next server finishes too. */
const CLOSE_MS = 8_000;

/** From now on the process ends in time, whatever holds it. */
const leaveInTime = ({ drainMs }: Config, log: FastifyBaseLogger): void => {
  const leave = () => {
    log.error(
      { held: process.getActiveResourcesInfo() },
      `still here ${CLOSE_MS / 1_000} s after the last answer was due: leaves as it is`,
    );
    process.exit(1);
  };
  setTimeout(leave, drainMs + CLOSE_MS).unref();
};

const untilSignal = (): Promise<void> =>
  new Promise((resolve) => {
    const leave = () => {
      // The next signal has its default effect.
      for (const signal of SIGNALS) process.off(signal, leave);
      resolve();
    };
    for (const signal of SIGNALS) process.on(signal, leave);
  });
const SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** What a newcomer can do next. */
const welcome = (url: string, config: Config): readonly string[] => {
  const user = config.htpasswd === null && config.tokens === null ? "" : " -u NAME";
  const curl = `curl -s${user} -H 'Content-Type: application/json'`;
  return [
    "",
    `Longwick listens on ${url} (API and a page to try it: ${url}/docs/). Try:`,
    "",
    `  ${curl} ${url}/sessions -d '{"kind":"pyspark"}'`,
    `  ${curl} ${url}/sessions/0/statements -d '{"code":"spark.range(10**6).selectExpr(\\"sum(id)\\").show()"}'`,
    `  ${curl} '${url}/sessions/0/statements/0?wait=60s'`,
    "",
    `Sparkmagic: set "url": "${url}" in ~/.sparkmagic/config.json. Ctrl-C stops the server; sessions go on and are found again.`,
    "",
  ];
};
