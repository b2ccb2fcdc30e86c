import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { type Answer, exchange } from "../kit/http.ts";
import { Livy, textOf } from "../kit/livy.ts";
import { type Random, seeded } from "../kit/random.ts";
import { startServer } from "../kit/server.ts";

const SEED = 20_260_419;
const ROUNDS = 4_000;
const WARM_UP = 1_500;
/** What a heap that is not collected yet may hold; a leak of a kilobyte a request would be past it in the end. */
const GROWTH_LIMIT_KIB = 48 * 1024;

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
}
interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema?: Schema }[];
  readonly requestBody?: { readonly content?: Readonly<Record<string, { readonly schema?: Schema }>> };
}
interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

const ODD_TEXTS = [
  "",
  " ",
  "\u0000",
  "\u001b[31m",
  "a\nb",
  "é✓😀",
  "\ud800",
  "../..",
  "%00",
  "%",
  "null",
  "-1",
  "0",
  "1e309",
  "9".repeat(25),
  "x".repeat(5_000),
  "{}",
  "$(x)",
  "__proto__",
];
const ODD_VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e308,
  2 ** 53,
  [],
  {},
  [[[]]],
  { __proto__: null, constructor: 1 },
  ...ODD_TEXTS,
];
const ODD_BODIES = ["", "{", "[", '"', "nul", "{}{}", '{"a":1,"a":2}', "\ufeff{}", "\u0000", `${"[".repeat(5_000)}`, '{"code":"\\ud800"}'];

/** A value that fits the schema, nearly, or not at all. */
const valueFor = (random: Random, schema: Schema | undefined): unknown => {
  if (schema === undefined || random.below(4) === 0) return random.pick(ODD_VALUES);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined && schema.enum.length > 0) return random.pick(schema.enum);
  if (schema.anyOf !== undefined && schema.anyOf.length > 0) return valueFor(random, random.pick(schema.anyOf));
  if (schema.type === "object" || schema.properties !== undefined) {
    const fields = Object.entries(schema.properties ?? {}).filter(() => random.below(2) === 0);
    const entries: [string, unknown][] = fields.map(([name, field]) => [name, valueFor(random, field)]);
    if (random.below(5) === 0) entries.push([random.pick(ODD_TEXTS), random.pick(ODD_VALUES)]);
    return Object.fromEntries(entries);
  }
  if (schema.type === "array") return Array.from({ length: random.below(3) }, () => valueFor(random, schema.items));
  if (schema.type === "integer" || schema.type === "number") return random.pick([0, 1, 2, 100, -1, 2 ** 31, 2 ** 53]);
  if (schema.type === "boolean") return random.below(2) === 0;
  return random.pick(["1", "pyspark", "print(1)", "spark", ...ODD_TEXTS]);
};

/** A body of a few fields: of many, one is always wrong. */
const sparse = (random: Random, schema: Schema | undefined): unknown => {
  const fields = Object.entries(schema?.properties ?? {});
  const few = Array.from({ length: random.below(4) }, () => random.pick(fields));
  return Object.fromEntries(few.map(([name, field]) => [name, valueFor(random, field)]));
};

const asText = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? "")).toWellFormed();

const shake = (random: Random, text: string): string => {
  if (random.below(8) !== 0 || text === "") return text;
  const at = random.below(text.length);
  return text.slice(0, at) + random.pick(ODD_TEXTS) + text.slice(at + random.below(4));
};

const FORM = { "Content-Type": "multipart/form-data; boundary=edge" };

/** A form with files in it, or what begins like one. */
const formFor = (random: Random): string => {
  const quoted = (text: string) => text.toWellFormed().replaceAll(/[\r\n"]/g, "");
  const parts = Array.from({ length: random.below(3) }, () => {
    const file = random.below(4) === 0 ? "" : `; filename="${quoted(random.pick(["a.py", "b.txt", ...ODD_TEXTS]))}"`;
    const name = quoted(random.pick(["file", ...ODD_TEXTS]));
    return `--edge\r\nContent-Disposition: form-data; name="${name}"${file}\r\n\r\n${random.pick(ODD_TEXTS).toWellFormed()}\r\n`;
  });
  return shake(random, `${parts.join("")}--edge--\r\n`).toWellFormed();
};

/** Addresses that end things are asked for with ids that nobody has; `session` and `kernel` are one that runs. */
const pathFor = (random: Random, template: string, operation: Operation, ends: boolean, session: string, kernel: string): string => {
  const path = template.replaceAll(/\{(\w+)\}/g, (_all, name: string) => {
    if (ends) return random.pick(["424242", "nobody", "-1"]);
    if (name === "kernel" || name === "session") {
      const id = name === "kernel" || template.startsWith("/api/") ? kernel : session;
      return random.below(3) > 0 ? id : encodeURIComponent(random.pick(ODD_TEXTS).toWellFormed());
    }
    return random.below(3) > 0 ? String(random.below(20)) : encodeURIComponent(random.pick(ODD_TEXTS).toWellFormed());
  });
  const query = (operation.parameters ?? [])
    .filter((parameter) => parameter.in === "query" && random.below(2) === 0)
    .map(({ name, schema }) => `${name}=${encodeURIComponent(asText(valueFor(random, schema)))}`)
    // An answer that is held, or goes on for as long as a session, is no fault, but it makes the test slow.
    .filter((pair) => !/^(wait|follow)=/.test(pair));
  return query.length === 0 ? path : `${path}?${query.join("&")}`;
};

const residentKib = async (pid: number): Promise<number> => {
  const line = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1]);
};

/** Bytes that are no HTTP, on a connection of their own. */
const garbage = (port: number, random: Random): Promise<void> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      const head = random.pick([
        "GET / HTTP/1.1\r\n",
        "POST /sessions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "\u0016\u0003\u0001",
        "PRI * HTTP/2.0\r\n\r\n",
        "",
      ]);
      socket.end(head + Array.from({ length: random.below(200) }, () => String.fromCharCode(random.below(256))).join(""), "latin1");
    });
    socket.on("data", () => undefined);
    socket.on("error", () => resolve());
    socket.on("close", () => resolve());
    socket.setTimeout(5_000, () => socket.destroy());
  });

test("2000 seeded sessions that are only planned meet no 5xx, and none is there", { timeout: 120_000 }, async () => {
  // Their names are among those that the fuzz picks.
  const presets = { spark: { limits: { driverMemory: "2g", numExecutors: 3 } }, "1": { users: ["nobody"] } };
  await using server = await startServer({ flags: ["--presets", JSON.stringify(presets)] });
  const livy = new Livy(server.url);
  const document = await livy.expect<OpenApi>(200, "GET", "/openapi.json");
  const schema = document.paths["/sessions"]?.["post"]?.requestBody?.content?.["application/json"]?.schema;
  const random = seeded(SEED);
  const statuses = new Map<number, number>();
  const planned = new Set<unknown>();
  for (let round = 0; round < 2_000; round += 1) {
    const body = random.below(10) === 0 ? random.pick(ODD_BODIES) : shake(random, JSON.stringify(sparse(random, schema)) ?? "");
    const answer: Answer = await livy.ask("POST", "/sessions?dryRun=true", body, 20_000);
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    if (answer.status === 200) planned.add((answer.body as { preset?: unknown }).preset);
    else expect([answer.status, typeof (answer.body as { msg?: unknown }).msg]).toEqual([400, "string"]);
  }
  expect(statuses.get(200)).toBeGreaterThan(200);
  expect(statuses.get(400)).toBeGreaterThan(200);
  expect([...planned]).toEqual(expect.arrayContaining([null, "spark"]));
  expect(await livy.expect(200, "GET", "/sessions")).toMatchObject({ total: 0 });
});

test(`${ROUNDS} seeded requests made from the OpenAPI document meet no 5xx, no crash and no growth`, { timeout: 240_000 }, async () => {
  await using server = await startServer({ flags: ["--max-sessions", "1"] });
  const livy = new Livy(server.url);
  const { id: session } = await livy.ready();
  const [kernel] = await livy.expect<readonly { readonly id: string }[]>(200, "GET", "/api/kernels");
  const document = await livy.expect<OpenApi>(200, "GET", "/openapi.json");
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  );
  expect(operations.length).toBeGreaterThan(15);

  const random = seeded(SEED);
  const statuses = new Map<number, number>();
  const wrong: string[] = [];
  let residentThen = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    if (round === WARM_UP) residentThen = await residentKib(server.pid);
    if (round % 50 === 0) await garbage(server.port, random);
    const { path: template, method, operation } = random.pick(operations);
    const ends = method === "DELETE" || /\/(stop|interrupt|restart)$/.test(template);
    const path = pathFor(random, template, operation, ends, String(session), kernel?.id ?? "");
    const schema = operation.requestBody?.content?.["application/json"]?.schema;
    const body =
      method === "GET" || method === "HEAD"
        ? null
        : random.below(6) === 0
          ? random.pick(ODD_BODIES)
          : shake(random, JSON.stringify(valueFor(random, schema)) ?? "");
    const asked: Promise<Answer> =
      /\/upload(s$|-)/.test(template) && random.below(3) > 0
        ? exchange(server.url, { method, path, headers: FORM, body: formFor(random), timeoutMs: 20_000 })
        : livy.ask(method, path, body, 20_000);
    const answer = await asked.catch((cause: unknown) => {
      throw new Error(`round ${round}: ${method} ${path} ${body?.slice(0, 200)} has no answer`, { cause });
    });
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    // 501 is the answer to what Livy offers and we do not, whatever the request holds.
    const expected = answer.status < 500 || answer.status === 501;
    // Livy's clients read `msg`, Jupyter's `message`.
    const word = /^\/(api|kernelspecs)(\/|$)/.test(template) ? "message" : "msg";
    const refusal =
      answer.status >= 400 && method !== "HEAD" && typeof (answer.body as Record<string, unknown> | null)?.[word] !== "string";
    if (!expected || refusal)
      wrong.push(
        `round ${round}: ${method} ${path} ${body?.slice(0, 200)} → ${answer.status} ${JSON.stringify(answer.body)?.slice(0, 200)}`,
      );
  }
  expect(wrong).toEqual([]);
  // The fuzz reached what it is meant to shake, not only the door.
  expect(statuses.get(200)).toBeGreaterThan(ROUNDS / 20);
  expect(statuses.get(400)).toBeGreaterThan(ROUNDS / 20);
  expect(textOf(await livy.run(session, "6 * 7"))).toBe("42");
  expect((await residentKib(server.pid)) - residentThen).toBeLessThan(GROWTH_LIMIT_KIB);
});
