import { join } from "node:path";
import { type Config, ConfigError } from "./config.ts";
import type { UploadPlace } from "./uploads/index.ts";

/**
 * Where the configuration has uploads kept; null: nowhere.
 * @throws ConfigError for settings that do not go together
 */
export const uploadPlace = (config: Config): UploadPlace | null => {
  const { uploadDir, uploadBucket, uploadEndpoint: endpoint, uploadRegion: region } = config;
  if (uploadBucket !== null) {
    if (uploadDir !== null) throw new ConfigError(["--upload-dir and --upload-bucket: uploads are kept in one place, give one of them."]);
    const [bucket = "", ...prefix] = uploadBucket.slice("s3://".length).split("/");
    return { bucket, prefix: prefix.filter((part) => part !== "").join("/"), endpoint, region };
  }
  if (endpoint !== null || region !== null) throw new ConfigError(["--upload-endpoint and --upload-region are for an --upload-bucket."]);
  if (uploadDir !== null) return { directory: uploadDir };
  return config.launcher === "local" ? { directory: join(config.runtimeDir, "uploads") } : null;
};
