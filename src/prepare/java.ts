import { readdirSync } from "node:fs";
import { join } from "node:path";
import { run } from "./run.ts";

/** A Java on this machine, as it described itself. */
export interface Java {
  /** The binary in its home. */
  readonly path: string;
  readonly version: string;
  /** 8, 11, 17 … */
  readonly feature: number;
}

/** Where systems put Javas: one directory each, the binary at this place below it. */
const HOMES: readonly (readonly [string, string])[] = [
  ["/usr/lib/jvm", "bin/java"],
  ["/Library/Java/JavaVirtualMachines", "Contents/Home/bin/java"],
];

/** Where Javas are looked for, in order of preference. */
export const javaCommands = (): readonly string[] => [
  "java",
  ...HOMES.flatMap(([directory, binary]) => homesIn(directory).map((home) => join(home, binary))),
];

const homesIn = (directory: string): readonly string[] => {
  try {
    return readdirSync(directory)
      .filter((name) => !name.startsWith("."))
      .sort()
      .map((name) => join(directory, name));
  } catch {
    return [];
  }
};

/** What the command, or the binary in this home, says of itself; null when it is no Java that runs. */
export const inspectJava = async (commandOrHome: string): Promise<Java | null> => {
  for (const command of [commandOrHome, join(commandOrHome, "bin/java")]) {
    const { ok, stderr, stdout } = await run(command, ["-XshowSettings:properties", "-version"]);
    const settings = stderr + stdout;
    const home = /^\s*java\.home = (.+)$/m.exec(settings)?.[1];
    const version = /^\s*java\.version = (.+)$/m.exec(settings)?.[1];
    const feature = Number(/^\s*java\.specification\.version = (?:1\.)?(\d+)/m.exec(settings)?.[1]);
    if (ok && home !== undefined && version !== undefined && feature > 0) {
      return { path: join(home, "bin/java"), version, feature };
    }
  }
  return null;
};

/** The Javas behind these commands, each once. */
export const findJavas = async (commands: readonly string[]): Promise<readonly Java[]> => {
  const found = await Promise.all(commands.map(inspectJava));
  const byPath = new Map(found.flatMap((java) => (java === null ? [] : [[java.path, java] as const])));
  return [...byPath.values()];
};
