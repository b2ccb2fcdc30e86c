import { posix, win32 } from "node:path";

/** Where Jupyter looks for kernelspecs (jupyter_core 5.9, `paths.py`). */

export interface Machine {
  /** As `process.platform` has it. */
  readonly platform: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
}

/** Directory of this user's Jupyter data: where `--user` installs. */
export const userDirectory = ({ platform, env, home }: Machine): string => {
  const { join } = platform === "win32" ? win32 : posix;
  if (env["JUPYTER_DATA_DIR"]) return env["JUPYTER_DATA_DIR"];
  if (platform === "darwin")
    return isSet(env["JUPYTER_PLATFORM_DIRS"]) ? join(home, "Library/Application Support/jupyter") : join(home, "Library/Jupyter");
  if (platform === "win32") {
    if (isSet(env["JUPYTER_PLATFORM_DIRS"])) return join(env["LOCALAPPDATA"] ?? join(home, "AppData", "Local"), "jupyter");
    return env["APPDATA"] ? join(env["APPDATA"], "jupyter") : join(env["JUPYTER_CONFIG_DIR"] ?? join(home, ".jupyter"), "data");
  }
  return join(env["XDG_DATA_HOME"] || join(home, ".local/share"), "jupyter");
};

/** Directory of Jupyter's data below a prefix, a virtual environment's for one. */
export const prefixDirectory = (platform: string, prefix: string): string =>
  (platform === "win32" ? win32 : posix).join(prefix, "share", "jupyter");

/**
 * Where kernelspecs may be, the first to be preferred.
 * @param prefix of the Python that Jupyter runs on; null: unknown
 */
export const searchDirectories = (machine: Machine, prefix: string | null): readonly string[] => {
  const { platform, env } = machine;
  const { delimiter } = platform === "win32" ? win32 : posix;
  const named = (env["JUPYTER_PATH"] ?? "").split(delimiter).filter((path) => path !== "");
  const system = platform === "win32" ? [] : ["/usr/local/share/jupyter", "/usr/share/jupyter"];
  return [...new Set([...named, userDirectory(machine), ...(prefix === null ? [] : [prefixDirectory(platform, prefix)]), ...system])];
};

const isSet = (value: string | undefined): boolean =>
  value !== undefined && !["", "0", "no", "n", "false", "off"].includes(value.toLowerCase());
