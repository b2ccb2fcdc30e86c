import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { installSpec, listSpecs, makeSpec, removeSpec } from "../../src/kernelspec/specs.ts";

const LOGOS = fileURLToPath(new URL("../../kernelspec", import.meta.url));
const WISHES = { displayName: "Spark", env: {}, node: "/opt/node", program: "/opt/longwick.js", version: "1.2.3" };
const SPEC = makeSpec(WISHES);

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "lw-"));
});
afterEach(() => rmSync(root, { recursive: true }));

describe("a kernelspec", () => {
  test("starts our kernel by absolute paths and says what it can", () => {
    expect(makeSpec({ ...WISHES, env: { LONGWICK_URL: "https://spark.example.org", LONGWICK_TOKEN_FILE: "~/token" } })).toEqual({
      argv: ["/opt/node", "/opt/longwick.js", "kernel", "-f", "{connection_file}"],
      display_name: "Spark",
      language: "python",
      interrupt_mode: "message",
      kernel_protocol_version: "5.5",
      env: { LONGWICK_URL: "https://spark.example.org", LONGWICK_TOKEN_FILE: "~/token" },
      metadata: { longwick: { version: "1.2.3" }, supported_encryption: ["curve"], debugger: false },
    });
  });

  test.for([{ LONGWICK_TOKEN: "t" }, { MY_PASSWORD: "p" }, { LONGWICK_URL: "https://ann:secret@spark.example.org" }])(
    "holds no secret: %j is refused",
    (env) => {
      expect(() => makeSpec({ ...WISHES, env })).toThrow("LONGWICK_TOKEN_FILE");
    },
  );

  test("is written with its logos, over an older one of ours, and leaves nothing else", async () => {
    await installSpec(root, "spark", makeSpec({ ...WISHES, displayName: "Old" }), LOGOS);
    const directory = await installSpec(root, "spark", SPEC, LOGOS);
    expect(directory).toBe(join(root, "kernels/spark"));
    expect(readdirSync(directory).sort()).toEqual(["kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"]);
    expect(JSON.parse(readFileSync(join(directory, "kernel.json"), "utf8"))).toEqual(SPEC);
    expect(await listSpecs([root, join(root, "elsewhere")])).toEqual([{ name: "spark", directory, displayName: "Spark" }]);
  });

  test("of another program is neither overwritten nor listed", async () => {
    const directory = join(root, "kernels/python3");
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, "kernel.json"), '{"argv":["python"],"metadata":{}}');
    await expect(installSpec(root, "python3", SPEC, LOGOS)).rejects.toThrow("another program's kernelspec: choose a name with --name");
    expect(readFileSync(join(directory, "kernel.json"), "utf8")).toContain("python");
    expect(await listSpecs([root])).toEqual([]);
  });

  test.for(["", "..", "Spark", "a/b", "-x", "a b"])("cannot be called %j", async (name) => {
    await expect(installSpec(root, name, SPEC, LOGOS)).rejects.toThrow("is no name of a kernelspec");
  });

  test("that cannot be written is told with its place, and no half of it is left", async () => {
    const file = join(root, "file");
    writeFileSync(file, "");
    await expect(installSpec(file, "spark", SPEC, LOGOS)).rejects.toThrow(/file\/kernels\/spark cannot be written: .*--prefix/);
    await expect(installSpec(root, "spark", SPEC, join(root, "no-logos"))).rejects.toThrow("ENOENT");
    expect(readdirSync(join(root, "kernels/spark"))).toEqual([]);
  });

  test("is removed whole", async () => {
    await installSpec(root, "spark", SPEC, LOGOS);
    const [spec] = await listSpecs([root]);
    if (spec === undefined) throw new Error("it was not listed");
    await removeSpec(spec);
    expect(readdirSync(join(root, "kernels"))).toEqual([]);
  });
});
