import { setTimeout as pause } from "node:timers/promises";
import type { Session } from "../../src/core/session.ts";
import { ApiProxy } from "../../test/kit/api-proxy.ts";
import { ClusterSite } from "../../test/kit/cluster.ts";
import { ClusterServer, NOBODY } from "../../test/kit/cluster-server.ts";
import { until } from "../../test/kit/until.ts";
import type { Row } from "../report.ts";
import { BENCH_NAMESPACE } from "./namespace.ts";

const SESSIONS = 5;
const LIFE_MS = 60_000;
/** What follows a session's start or end has been asked for by then. */
const AFTER_MS = 3_000;

/** Counts what a server asks the API server for, watches apart: those are one for all sessions. */
class Counter {
  #count = 0;

  constructor(proxy: ApiProxy) {
    proxy.answer = ({ url = "" }) => {
      if (new URL(url, "http://x").searchParams.get("watch") !== "true") this.#count += 1;
      return null;
    };
  }

  /** Requests since the last time. */
  take(): number {
    const count = this.#count;
    this.#count = 0;
    return count;
  }
}

/** What a session costs the API server: its start, a minute of its life with somebody who asks for it every second, its end. */
export const apiRequests = async (): Promise<readonly Row[]> => {
  await using proxy = await ApiProxy.start();
  await using site = ClusterSite.withoutSpark({
    ...{ namespace: BENCH_NAMESPACE, serverNamespace: BENCH_NAMESPACE, kubeconfig: proxy.kubeconfig },
  });
  await using server = await ClusterServer.open(site);
  const counter = new Counter(proxy);
  const start = async (): Promise<Session> => {
    const session = await server.create();
    await until(`the driver of session ${session.id} speaks`, 60_000, () => (session.epoch !== null ? true : undefined));
    await pause(AFTER_MS);
    return session;
  };
  // Ids are counted on from a mark that the first session makes.
  const sessions = [await start()];
  counter.take();
  const starts: number[] = [];
  while (sessions.length <= SESSIONS) {
    sessions.push(await start());
    starts.push(counter.take());
  }
  const endMs = Date.now() + LIFE_MS;
  while (Date.now() < endMs) {
    for (const session of sessions) {
      await server.sessions.seek(String(session.id));
      server.sessions.find(String(session.id), NOBODY, "view").touch("bench");
    }
    await pause(1_000);
  }
  const life = counter.take() / sessions.length / (LIFE_MS / 60_000);
  const ends: number[] = [];
  for (const session of sessions) {
    await server.sessions.delete(session, "it was measured");
    await pause(AFTER_MS);
    ends.push(counter.take());
  }
  const row = (what: string, ours: readonly number[]): Row => ({ what, unit: "", ours, floor: null, goal: { kind: "none" } });
  return [
    row("requests to the API server: a session's start", starts),
    row("the same, each minute of its life, asked for every second", [life]),
    row("the same, its end", ends),
  ];
};
