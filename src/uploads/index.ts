import type { UploadStore } from "../core/upload-store.ts";
import type { BucketSettings } from "./bucket.ts";
import { openDirectoryStore } from "./directory.ts";

/** Where uploads shall be kept. */
export type UploadPlace = { readonly directory: string } | BucketSettings;

/** Opens the store; a bucket's client is loaded only when there is one. */
export const openUploadStore = async (place: UploadPlace): Promise<UploadStore> => {
  if ("directory" in place) return openDirectoryStore(place.directory);
  const { openBucketStore } = await import("./bucket.ts");
  return openBucketStore(place);
};
