import { readFileSync } from "node:fs";

/** This program's, as its package has it. */
export const version = (): string => {
  // Our own file: npm does not publish a package without a version.
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return version;
};
