import type { Preset } from "../../core/presets.ts";
import { type App, answers, type Room } from "./room.ts";
import { PresetList } from "./schemas.ts";

/** `/presets`, which Livy has not. */
export const presetRoutes = (app: App, { options: { presets } }: Room): void => {
  app.get(
    "/presets",
    { schema: { tags: ["sessions"], summary: "List the presets you may choose", response: answers({ 200: PresetList }) } },
    ({ caller }): PresetList => ({
      presets: presets.list(caller).map((preset) => ({ ...presetObject(preset), default: presets.isDefault(preset) })),
    }),
  );
};

const presetObject = ({ name, displayName, description, kind, conf, limits }: Preset) => ({
  ...{ name, displayName, description, kind, limits },
  driverMemory: conf["spark.driver.memory"] ?? null,
  driverCores: Number(conf["spark.driver.cores"]) || 0,
  executorMemory: conf["spark.executor.memory"] ?? null,
  executorCores: Number(conf["spark.executor.cores"]) || 0,
  numExecutors: Number(conf["spark.executor.instances"]) || 0,
});
