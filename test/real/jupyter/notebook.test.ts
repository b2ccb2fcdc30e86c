import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { installKernel } from "../../kit/kernelspec.ts";
import { clientsPython } from "../../kit/python.ts";
import { type Server, startServer } from "../../kit/server.ts";

/** Notebooks that nobody watches: nbclient and papermill with the native kernel, nbclient with a Jupyter Server whose gateway is ours. */

interface Output {
  readonly output_type: string;
  readonly data?: Readonly<Record<string, string>>;
  readonly text?: string;
  readonly ename?: string;
}
type Book = Readonly<Record<string, readonly Output[]>>;

type Books = Readonly<Record<"nbclient", Book>> & { readonly interrupted: Book & { readonly seconds: number } };

let server: Server;
let native: Books & { readonly papermill: Book & { readonly failed: readonly string[] } };
let gateway: Books & { readonly troubles: readonly string[] };

const run = async (name: string, env: NodeJS.ProcessEnv): Promise<unknown> => {
  const out = join(server.directory, `${name}.json`);
  const script = fileURLToPath(new URL("run_notebook.py", import.meta.url));
  await promisify(execFile)(await clientsPython(), [script, out], { env, timeout: 280_000, maxBuffer: 2 ** 26 });
  return JSON.parse(readFileSync(out, "utf8"));
};

beforeAll(async () => {
  server = await startServer();
  const kernel = { LONGWICK_URL: server.url, LONGWICK_RUNTIME_DIR: join(server.directory, "kernels") };
  const env = { ...installKernel(server.directory, "notebooks", kernel) };
  // nbformat has validated what they hold.
  native = (await run("native", env)) as typeof native;
  gateway = (await run("gateway", { ...env, KERNEL: "spark", GATEWAY: server.url })) as typeof gateway;
}, 580_000);
afterAll(() => server[Symbol.asyncDispose]());

/** What a cell shows, less how Spark's start and its jobs went. */
const shown = (book: Book, cell: string): readonly Output[] => (book[cell] ?? []).filter((output) => !isProgress(output));
/** What it wrote, in as many pieces as it came. */
const written = (book: Book, cell: string): string =>
  shown(book, cell)
    .map(({ output_type, text }) => (output_type === "stream" ? text : output_type))
    .join("");
const isProgress = ({ data }: Output): boolean => /^Spark(:| .* is ready)/.test(data?.["text/plain"] ?? "");

describe.for([
  ["the native kernel", () => native],
  ["a Jupyter Server before our gateway", () => gateway],
] as const)("nbclient with %s", ([, books]) => {
  test("a result, a figure, a table and an updated display are kept in the notebook", () => {
    expect(shown(books().nbclient, "result")).toEqual([
      expect.objectContaining({ output_type: "execute_result", data: { "text/plain": "42" }, execution_count: 1 }),
    ]);
    const [figure, ...more] = shown(books().nbclient, "plot");
    expect(
      Buffer.from(figure?.data?.["image/png"] ?? "", "base64")
        .subarray(1, 4)
        .toString(),
    ).toBe("PNG");
    expect(more).toEqual([]);
    expect(shown(books().nbclient, "frame")[0]?.data?.["text/html"]).toContain("<table");
    expect(shown(books().nbclient, "update").map(({ data }) => data)).toEqual([{ "text/plain": "'after'" }]);
  });

  test("the progress of Spark's jobs ends as one line", () => {
    const lines = (books().nbclient["progress"] ?? []).filter(isProgress).map(({ data }) => data?.["text/plain"]);
    expect(lines).toEqual([expect.stringMatching(/^Spark: 1 job, 1 stage, 8 tasks in [\d.]+ s$/)]);
  });

  test("an expected error is kept, and the notebook goes on", () => {
    expect(shown(books().nbclient, "error").map(({ output_type, ename }) => [output_type, ename])).toEqual([
      ["error", "ZeroDivisionError"],
    ]);
    expect(written(books().nbclient, "after")).toBe("the notebook goes on\n");
  });

  test("a cell that takes too long is interrupted, and variables are still there", () => {
    expect(shown(books().interrupted, "long").map(({ ename }) => ename)).toEqual(["KeyboardInterrupt"]);
    expect(shown(books().interrupted, "after").map(({ data }) => data)).toEqual([{ "text/plain": "2" }]);
    // Five of them are nbclient's patience; an interrupt that is not heard ends nothing.
    expect(books().interrupted.seconds).toBeLessThan(60);
  });
});

test("that Jupyter Server had nothing to complain of", () => {
  expect(gateway.troubles).toEqual([]);
});

test("papermill's parameters reach Spark", () => {
  expect(written(native.papermill, "count")).toBe("1234\n");
});

test("papermill keeps a figure and the one line of progress, and ends at an error, which it tells", () => {
  expect(shown(native.papermill, "plot").map(({ data }) => Object.keys(data ?? {}).includes("image/png"))).toEqual([true]);
  expect((native.papermill["progress"] ?? []).filter(isProgress)).toHaveLength(1);
  expect(native.papermill.failed).toEqual(["ValueError", "1234"]);
  expect(shown(native.papermill, "fails").map(({ ename }) => ename)).toEqual(["ValueError"]);
  expect(native.papermill["after"]).toEqual([]);
});
