import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Problem } from "../../../src/core/problems.ts";
import { checkUri, checkUris, type PathRules } from "../../../src/faces/livy/paths.ts";
import { readSpec } from "../../../src/faces/livy/spec.ts";
import { sparkLaunch } from "../../../src/launch/spark.ts";

const NOBODY = { name: null, remote: null };
let root = "";
let rules: PathRules;

beforeAll(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), "longwick-paths-")));
  await mkdir(join(root, "open", "deep"), { recursive: true });
  await mkdir(join(root, "opener"));
  await mkdir(join(root, "shut"));
  await writeFile(join(root, "open", "a b.jar"), "");
  await writeFile(join(root, "open", "deep", "x%2e.txt"), "");
  await writeFile(join(root, "opener", "y.jar"), "");
  await writeFile(join(root, "shut", "secret"), "");
  await symlink(join(root, "shut"), join(root, "open", "way-out"));
  await symlink(join(root, "open"), join(root, "way-in"));
  rules = { localDirs: [join(root, "way-in")], driversAreHere: true, uploads: null };
});
afterAll(() => rm(root, { recursive: true }));

const check = async (uri: string, changed: Partial<PathRules> = {}): Promise<string> => {
  try {
    return (await checkUri(uri.replaceAll("ROOT", root), { ...rules, ...changed }, NOBODY)).replaceAll(root, "ROOT");
  } catch (error) {
    if (error instanceof Problem) return error.message.replaceAll(root, "ROOT");
    throw error;
  }
};

test.each([
  "hdfs:///a,file:///etc/passwd",
  "ROOT/open/a b.jar,file:///etc/passwd",
  "file:ROOT/open/a%20b.jar%2Cfile:///etc/passwd",
  "ROOT/open/*.jar",
  "ROOT/open/{deep,way-out}",
  "file:ROOT/open/%5Ba%5D b.jar",
])("%s, which Spark would take for more than one, is refused", async (uri) => {
  expect(await check(uri)).toMatch(/^Rejected, Reason: .* holds a comma/);
});

test("what a conf's list holds is checked item by item, and stays what was checked all the way to Spark", async () => {
  const { spec } = readSpec(
    { body: { conf: { "spark.files": "hdfs:///a file:///etc/passwd, hdfs:///b" } }, doAs: undefined, preset: null },
    { kinds: ["pyspark"], refusedConf: [], idleTimeoutMs: 0, ttlMs: 0, impersonation: false },
  );
  const launch = sparkLaunch(1, await checkUris(spec, rules, NOBODY), {
    sparkConf: {},
    defaultMaster: null,
    timeZone: null,
    refusedConf: [],
    environment: {},
  });
  expect(launch.files).toEqual(["hdfs:///a file:///etc/passwd", "hdfs:///b"]);
});

describe("a local file in an allowed directory", () => {
  test.each([
    ["ROOT/open/a b.jar", "file://ROOT/open/a%20b.jar"],
    ["file:ROOT/open/a%20b.jar", "file://ROOT/open/a%20b.jar"],
    ["file://ROOT/open/a%20b.jar", "file://ROOT/open/a%20b.jar"],
    ["FILE://localhostROOT/open/a%20b.jar", "file://ROOT/open/a%20b.jar"],
    ["local:ROOT/open/a%20b.jar", "local://ROOT/open/a%20b.jar"],
    ["ROOT/way-in/a b.jar", "file://ROOT/way-in/a%20b.jar"],
    ["ROOT/shut/../open/deep/../a b.jar", "file://ROOT/open/a%20b.jar"],
    ["file:ROOT/open/deep/x%252e.txt", "file://ROOT/open/deep/x%252e.txt"],
    ["ROOT/open/a b.jar#name", "file://ROOT/open/a%20b.jar#name"],
    ["file:ROOT/open/a%20b.jar#name", "file://ROOT/open/a%20b.jar#name"],
  ])("%s passes as %s", async (uri, passed) => {
    expect(await check(uri)).toBe(passed);
  });
});

describe("a local file elsewhere is refused", () => {
  test.each([
    "/etc/passwd",
    "file:///etc/passwd",
    "File:/etc/passwd",
    "file://localhost/etc/passwd",
    "local:///etc/passwd",
    "ROOT/open/../shut/secret",
    "file:ROOT/open/%2e%2e/shut/secret",
    "file:ROOT/open%2f..%2fshut/secret",
    "ROOT/open/way-out/secret",
    "file:ROOT/way-in/way-out/secret",
    "ROOT/opener/y.jar",
    "ROOT/shut/no-such-file",
    "file:///etc/passwd#x.jar",
  ])("%s", async (uri) => {
    expect(await check(uri)).toMatch(
      /^Rejected, Reason: Local path .* cannot be added to user sessions\. It must be in a directory that `localPaths` allows/,
    );
  });

  test.each([
    ["data.csv", "Path 'data.csv' is not absolute."],
    ["../x", "Path '../x' is not absolute."],
    ["", "Path '' is not absolute."],
    ["file:x.jar", "Path 'file:x.jar' is not absolute."],
    [" file:///etc/passwd", "Path ' file:///etc/passwd' is not absolute."],
    ["file://elsewhere/etc/passwd", "URI 'file://elsewhere/etc/passwd' names another machine."],
    ["file:/etc/passwd?x", "URI 'file:/etc/passwd?x' has a query."],
    ["file:/%zz", "URI 'file:/%zz' is not well-formed."],
    ["/a\nb", "A URI holds control characters."],
    ["file:/a%00b", "Local path /a\0b cannot be added to user sessions. It must be in a directory that `localPaths` allows."],
    ["jar:file:/etc/passwd!/x", "URIs of scheme jar are not taken."],
    ["har://file-/etc/passwd", "URIs of scheme har are not taken."],
    ["ROOT/open/no-such.jar", "Local path ROOT/open/no-such.jar does not exist."],
  ])("%j: %j", async (uri, reason) => {
    expect(await check(uri)).toBe(`Rejected, Reason: ${reason}`);
  });
});

test.each(["hdfs:///data/x.jar", "s3a://bucket/x.py", "https://host/x.zip#y"])("%s is no file and passes as it is", async (uri) => {
  expect(await check(uri)).toBe(uri);
});

describe("with drivers elsewhere a path is the driver's:", () => {
  test.each([
    ["local:///opt/in the image.jar", "local:///opt/in%20the%20image.jar"],
    ["file:/etc/passwd", "file:///etc/passwd"],
    ["/data/../mnt/x.zip#y", "file:///mnt/x.zip#y"],
    ["s3a://bucket/x.py", "s3a://bucket/x.py"],
  ])("%s passes as %s", async (uri, passed) => {
    expect(await check(uri, { driversAreHere: false })).toBe(passed);
  });

  test.each([
    ["x.jar", "Path 'x.jar' is not absolute."],
    ["file:/a%2Cb", "Local path /a,b holds a comma or a pattern."],
    ["file://elsewhere/x", "URI 'file://elsewhere/x' names another machine."],
  ])("%s is refused: %s", async (uri, reason) => {
    expect(await check(uri, { driversAreHere: false })).toBe(`Rejected, Reason: ${reason}`);
  });
});

test("a session's lists and the URIs in its configuration are all checked", async () => {
  const { spec } = readSpec(
    {
      body: { jars: [`${root}/open/a b.jar`], conf: { "spark.jars": ` ${root}/open/a b.jar, s3a://b/c.jar,`, "spark.x": "/etc,a" } },
      doAs: undefined,
      preset: null,
    },
    { kinds: ["pyspark"], refusedConf: [], idleTimeoutMs: 0, ttlMs: 0, impersonation: false },
  );
  const jar = `file://${root}/open/a%20b.jar`;
  expect(await checkUris(spec, rules, NOBODY)).toMatchObject({
    jars: [jar],
    conf: { "spark.jars": `${jar},s3a://b/c.jar`, "spark.x": "/etc,a" },
  });
  await expect(checkUris({ ...spec, conf: { "spark.files": "s3a://b/c,/etc/passwd" } }, rules, NOBODY)).rejects.toThrow("/etc/passwd");
});
