import { expect, test } from "vitest";
import { searchDirectories, userDirectory } from "../../src/kernelspec/directories.ts";

test.for([
  ["linux", {}, "/home/ann/.local/share/jupyter"],
  ["linux", { XDG_DATA_HOME: "/data" }, "/data/jupyter"],
  ["linux", { XDG_DATA_HOME: "" }, "/home/ann/.local/share/jupyter"],
  ["linux", { XDG_DATA_HOME: "/data", JUPYTER_DATA_DIR: "/mine" }, "/mine"],
  ["darwin", { XDG_DATA_HOME: "/data" }, "/home/ann/Library/Jupyter"],
  ["darwin", { JUPYTER_PLATFORM_DIRS: "1" }, "/home/ann/Library/Application Support/jupyter"],
  ["darwin", { JUPYTER_PLATFORM_DIRS: "no" }, "/home/ann/Library/Jupyter"],
  ["win32", { APPDATA: "C:\\Users\\ann\\AppData\\Roaming" }, "C:\\Users\\ann\\AppData\\Roaming\\jupyter"],
] as const)("on %s with %j a user's Jupyter data is in %s", ([platform, env, directory]) => {
  expect(userDirectory({ platform, env, home: "/home/ann" })).toBe(directory);
});

test("kernelspecs are looked for in JUPYTER_PATH, at the user's, in the environment and in the system, each place once", () => {
  const machine = { platform: "linux", env: { JUPYTER_PATH: "/one:/two:" }, home: "/home/ann" };
  const system = ["/usr/local/share/jupyter", "/usr/share/jupyter"];
  expect(searchDirectories(machine, "/venv")).toEqual(["/one", "/two", "/home/ann/.local/share/jupyter", "/venv/share/jupyter", ...system]);
  expect(searchDirectories(machine, "/usr")).toEqual(["/one", "/two", "/home/ann/.local/share/jupyter", "/usr/share/jupyter", system[0]]);
  expect(searchDirectories(machine, null)).toEqual(["/one", "/two", "/home/ann/.local/share/jupyter", ...system]);
});
