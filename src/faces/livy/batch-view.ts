import type { Batch } from "../../core/batch.ts";
import type { SessionEnd } from "../../core/ports.ts";
import { redactApplication } from "../../core/redaction.ts";
import { uiUrlOf } from "../spark-ui/presence.ts";
import type { BatchObject } from "./schemas.ts";

/** Lines of log a batch object carries. */
const LOG_LINES = 10;

/** A batch as Livy 0.9 shows it; what is ours stands in `longwick`. `at`: where its reader finds this server. */
export const batchObject = (batch: Batch, at: string, historyUrl: string | null): BatchObject => {
  const { end, facts, spec } = batch;
  const { file, className, args, retry, run } = redactApplication(batch.application);
  const { reason, cause, exitCode } = endFields(end);
  return {
    id: batch.id,
    name: batch.name,
    owner: batch.owner,
    proxyUser: batch.proxyUser,
    state: batch.state,
    appId: batch.appId,
    appInfo: {
      driverLogUrl: `${at}/batches/${batch.id}/driver-log`,
      sparkUiUrl: uiUrlOf(batch) === null ? null : `${at}/batches/${batch.id}/ui/`,
      executorLogUrls: batch.showsExecutors ? `${at}/batches/${batch.id}/executors` : null,
    },
    log: [...batch.logTail(LOG_LINES)],
    longwick: {
      uid: batch.uid,
      createdMs: batch.createdMs,
      endedMs: end?.endedMs ?? 0,
      ...{ reason, cause, exitCode },
      preset: spec.preset?.name ?? null,
      spark: facts?.spark || null,
      sparkUser: facts?.sparkUser ?? null,
      historyUrl,
      ...{ file, className, args },
      schedule: run === undefined ? null : { name: run.schedule, uid: run.scheduleUid, dueMs: run.dueMs },
      retry: { maxAttempts: retry.maxAttempts, backoffSeconds: retry.backoffMs / 1_000, on: retry.on },
      attempts: batch.attempts.map(({ number, startedMs, end: ended }) => ({
        attempt: number,
        startedMs,
        endedMs: ended?.endedMs ?? 0,
        ...endFields(ended),
        appId: ended === null ? batch.appId : ended.appId,
      })),
    },
  };
};

const endFields = (end: SessionEnd | null) => ({
  state: end?.state ?? null,
  reason: end?.reason ?? null,
  cause: end?.cause ?? null,
  exitCode: end?.exitCode ?? null,
});
