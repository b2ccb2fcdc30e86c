import type { Config } from "./config.ts";
import type { Life } from "./core/life.ts";

/** Where Spark's history server shows what has ended; null while it lives, when it wrote no events, or without a history server. */
export const historyUrl = (
  { historyServer, sparkConf }: Pick<Config, "historyServer" | "sparkConf">,
  { appId, end, spec }: Pick<Life, "appId" | "end" | "spec">,
): string | null => {
  if (historyServer === null || end === null || appId === null) return null;
  const events = { ...(spec.configuration ?? sparkConf), ...spec.preset?.conf, ...spec.conf }["spark.eventLog.enabled"];
  // As Spark reads it.
  return events?.trim().toLowerCase() === "true" ? `${historyServer.replace(/\/+$/, "")}/history/${encodeURIComponent(appId)}/` : null;
};
