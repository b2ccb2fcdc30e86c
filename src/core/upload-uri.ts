import type { BatchRequest } from "./schedule.ts";
import type { SessionSpec } from "./spec.ts";

/** How a spec names an upload: `upload:/ID/NAME`, the name percent-encoded; `#alias` may follow, as in Spark's lists. */
export interface UploadName {
  readonly id: string;
  readonly name: string;
  /** `#alias`, or empty. */
  readonly fragment: string;
}

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const URI = new RegExp(`^upload:(?://)?/(${UUID})/([^/?#]+)(#.*)?$`, "is");

/** Whether a text can be an upload's id. */
export const isUploadId = (text: string): boolean => new RegExp(`^${UUID}$`).test(text);

export const uploadUri = ({ id, name, fragment }: UploadName): string => `upload:/${id}/${encodeURIComponent(name)}${fragment}`;

/** The parts of an upload's URI; null for what is none. */
export const readUploadUri = (uri: string): UploadName | null => {
  const [, id, encoded, fragment = ""] = URI.exec(uri) ?? [];
  if (id === undefined || encoded === undefined) return null;
  try {
    return { id: id.toLowerCase(), name: decodeURIComponent(encoded), fragment };
  } catch {
    return null;
  }
};

/** Conf keys that hold comma-separated URIs. */
export const URI_KEYS: ReadonlySet<string> = new Set([
  "spark.jars",
  "spark.files",
  "spark.archives",
  "spark.submit.pyFiles",
  "spark.yarn.dist.jars",
  "spark.yarn.dist.files",
  "spark.yarn.dist.archives",
]);

/** Every URI that a spec names, and that whoever made it has checked. */
const urisIn = ({ application, jars, pyFiles, files, archives, conf }: SessionSpec): readonly string[] => [
  ...(application === undefined ? [] : [application.file]),
  ...[...jars, ...pyFiles, ...files, ...archives],
  ...Object.entries(conf).flatMap(([key, value]) => (URI_KEYS.has(key) ? value.split(",") : [])),
];

/** The uploads that a spec names; nothing else of a store may go to its driver, and these must stay. */
export const uploadsIn = (spec: SessionSpec): readonly UploadName[] => urisIn(spec).flatMap((uri) => readUploadUri(uri.trim()) ?? []);

/** The uploads that a kept request names: its fields are what somebody sent, checked when its runs begin. */
export const uploadsInRequest = ({ file, jars, pyFiles, files, archives, conf }: BatchRequest): readonly UploadName[] => {
  const lists = Object.entries(conf ?? {}).flatMap(([key, value]) => (URI_KEYS.has(key) ? [value] : []));
  const uris = [file, jars, pyFiles, files, archives, ...lists].flat().flatMap((value) => String(value).split(","));
  return uris.flatMap((uri) => readUploadUri(uri.trim()) ?? []);
};
