import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** What git knows or would take up; in an unpacked tree without git these tests cannot say anything and fail. */
const FILES = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: ROOT, encoding: "utf8" })
  .split("\n")
  .filter((name) => name !== "");
const SOURCES = FILES.filter((name) => /^src\/.*\.ts$/.test(name));

const contentOf = (name: string): string => {
  try {
    return readFileSync(join(ROOT, name), "utf8");
  } catch {
    return "";
  }
};
/** Code without its comments. */
const codeOf = (name: string): string =>
  contentOf(name)
    .replaceAll(/\/\*[\s\S]*?\*\//g, "")
    .replaceAll(/^\s*\/\/.*$/gm, "");

interface Import {
  readonly file: string;
  readonly target: string;
  readonly typeOnly: boolean;
}
const IMPORT = /(?:^|\n)\s*(import|export)(\s+type)?\b[^;"']*?\bfrom\s*"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)|(?:^|\n)import\s+"([^"]+)"/g;
const importsOf = (file: string): readonly Import[] =>
  [...codeOf(file).matchAll(IMPORT)].map(([, , type, from, lazy, bare]) => {
    const target = from ?? lazy ?? bare ?? "";
    return { file, target: target.startsWith(".") ? normalize(join(dirname(file), target)) : target, typeOnly: type !== undefined };
  });
const IMPORTS = SOURCES.flatMap(importsOf);

const roomOf = (path: string): string => /^src\/([^/]+)\//.exec(path)?.[1] ?? "main";

/** style.md §2: who may import whom; what stands in src itself may import everything. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  protocol: ["protocol"],
  core: ["core", "protocol"],
  link: ["link", "core", "protocol"],
  launch: ["launch", "core", "protocol"],
  faces: ["faces", "core", "protocol"],
  uploads: ["uploads", "core"],
  observe: ["observe", "core"],
  prepare: ["prepare"],
  kernel: ["kernel"],
  kernelspec: ["kernelspec"],
};
/** Built-ins that reach out of the process; the core does without. */
const IO = /^node:(fs|net|http|https|http2|child_process|dgram|tls|worker_threads|cluster)(\/|$)/;

const said = (imports: readonly Import[]): readonly string[] => imports.map(({ file, target }) => `${file} → ${target}`);

describe("the house", () => {
  test("has files to look at", () => {
    expect(SOURCES.length).toBeGreaterThan(20);
    expect(IMPORTS.length).toBeGreaterThan(100);
  });

  test("every room has its arrows", () => {
    const rooms = new Set(SOURCES.map(roomOf));
    expect([...rooms].filter((room) => room !== "main" && ARROWS[room] === undefined)).toEqual([]);
  });

  test("imports go along the arrows only", () => {
    const own = IMPORTS.filter(({ target }) => target.startsWith("src/"));
    expect(said(own.filter(({ file, target }) => ARROWS[roomOf(file)]?.includes(roomOf(target)) === false))).toEqual([]);
  });

  test("core and protocol's frames know no I/O and no framework", () => {
    const inner = IMPORTS.filter(({ file }) => roomOf(file) === "core" || file === "src/protocol/frames.ts");
    expect(said(inner.filter(({ target, typeOnly }) => IO.test(target) && !typeOnly))).toEqual([]);
    expect(
      said(
        inner.filter(
          ({ target }) => !target.startsWith("src/") && !target.startsWith("node:") && !/^(croner|typebox|uuid)(\/|$)/.test(target),
        ),
      ),
    ).toEqual([]);
  });

  test("imports name files: they end in .ts", () => {
    expect(said(IMPORTS.filter(({ target }) => target.startsWith("src/") && !target.endsWith(".ts")))).toEqual([]);
  });

  test("only config.ts reads the environment", () => {
    expect(SOURCES.filter((file) => file !== "src/config.ts" && /\bprocess\.env\b/.test(codeOf(file)))).toEqual([]);
  });

  test("nobody calls console", () => {
    expect(SOURCES.filter((file) => /\bconsole\./.test(codeOf(file)))).toEqual([]);
  });

  test("no file only passes on what others export", () => {
    const passing = SOURCES.filter((file) => /^export\s+(\*|(type\s+)?\{[^}]*\})\s+from/m.test(codeOf(file)));
    // Types of the options are part of what `config.ts` promises.
    expect(passing.filter((file) => file !== "src/config.ts")).toEqual([]);
  });

  test("files are called by nouns in kebab-case", () => {
    expect(SOURCES.filter((file) => !/^src\/([a-z0-9]+(-[a-z0-9]+)*\/)*[a-z0-9]+(-[a-z0-9]+)*\.ts$/.test(file))).toEqual([]);
  });

  test("what the sources import is a dependency, and each dependency is imported", () => {
    const { dependencies } = JSON.parse(contentOf("package.json")) as { dependencies: Record<string, string> };
    const packages = IMPORTS.filter(({ target }) => !target.startsWith("src/") && !target.startsWith("node:")).map(({ target }) =>
      target
        .split("/")
        .slice(0, target.startsWith("@") ? 2 : 1)
        .join("/"),
    );
    expect([...new Set(packages)].sort()).toEqual(Object.keys(dependencies).sort());
  });
});

describe("what is committed", () => {
  const TEXTS = FILES.filter((name) => !/\.(png|svg|ico|gz|zip|tgz)$/.test(name));
  /** In pieces, so that this file does not hold them. */
  const joined = (...parts: readonly string[]): string => parts.join("");

  test("names no registry's host, in the lockfile neither", () => {
    const hosts = [
      joined("registry.npm", "js.org"),
      joined("pypi", ".org/simple"),
      joined("files.python", "hosted.org"),
      joined("repo.maven", ".apache.org"),
      joined("repo1.maven", ".org"),
      joined("deb.deb", "ian.org"),
    ];
    expect(TEXTS.filter((name) => hosts.some((host) => contentOf(name).includes(host)))).toEqual([]);
    expect(contentOf("package-lock.json")).not.toContain('"resolved"');
  });

  test("names no path of the machine it was made on", () => {
    const paths = [
      ROOT.replace(/\/$/, ""),
      joined("/ro", "ot/."),
      joined("/wo", "rk/main"),
      joined("/wo", "rk/shared"),
      joined("../sha", "red/"),
    ];
    // CI alone looks beside the repository, for the scripts of a cluster.
    const isNamed = (path: string, name: string) => contentOf(name).includes(path) && !(name === ".ci/run" && path.startsWith(".."));
    expect(TEXTS.filter((name) => paths.some((path) => isNamed(path, name)))).toEqual([]);
  });

  test("pins every dependency to one version", () => {
    const { dependencies, devDependencies } = JSON.parse(contentOf("package.json")) as Record<string, Record<string, string>>;
    expect(Object.entries({ ...dependencies, ...devDependencies }).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });
});
