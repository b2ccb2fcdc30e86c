import { expect, test } from "vitest";
import { Service } from "./service.ts";

type Operation = {
  summary?: string;
  responses: Record<string, unknown>;
  parameters?: { name: string; in: string }[];
  requestBody?: object;
};
type Document = { openapi: string; paths: Record<string, Record<string, Operation>>; servers: { url: string }[] };

test("the OpenAPI document has every route of the interface, with what it takes and answers", async () => {
  await using service = await Service.start();
  const { body } = await service.ask("GET", "/openapi.json");
  const { openapi, paths } = body as Document;
  expect(openapi).toBe("3.1.0");
  const routes = Object.entries(paths).flatMap(([path, item]) => Object.keys(item).map((method) => `${method} ${path}`));
  expect(routes.sort()).toEqual(
    [
      ...["get /schedules", "post /schedules", "get /schedules/{schedule}", "patch /schedules/{schedule}", "delete /schedules/{schedule}"],
      "get /schedules/{schedule}/runs",
      ...["get /uploads", "post /uploads", "get /uploads/{upload}", "delete /uploads/{upload}"],
      ...["get /version", "get /presets", "get /sessions", "post /sessions", "get /sessions/{session}", "delete /sessions/{session}"],
      ...["state", "log", "statements", "statements/{statement}", "statements/{statement}/records", "jobs/{job}", "ui", "driver-log"].map(
        (path) => `get /sessions/{session}/${path}`,
      ),
      ...["get /batches", "post /batches", "get /batches/{batch}", "delete /batches/{batch}"],
      ...["sessions/{session}", "batches/{batch}"].flatMap((of) => [`get /${of}/executors`, `get /${of}/executors/{executor}/log`]),
      ...["state", "log", "ui", "driver-log", "driver-lines"].map((path) => `get /batches/{batch}/${path}`),
      ...["connect", "interrupt", "stop", "statements", "statements/{statement}/cancel", "completion"].map(
        (path) => `post /sessions/{session}/${path}`,
      ),
      ...["add-file", "add-pyfile", "add-jar", "upload-file", "upload-pyfile", "upload-jar"].map(
        (path) => `post /sessions/{session}/${path}`,
      ),
      ...["", "/status", "/kernelspecs", "/kernelspecs/{name}", "/kernels", "/kernels/{kernel}", "/sessions", "/sessions/{session}"].map(
        (path) => `get /api${path}`,
      ),
      ...["/kernels", "/kernels/{kernel}/interrupt", "/kernels/{kernel}/restart", "/sessions"].map((path) => `post /api${path}`),
      ...["delete /api/kernels/{kernel}", "delete /api/sessions/{session}", "patch /api/sessions/{session}"],
      "get /kernelspecs/{name}/{file}",
      ...["submit-job", "run-job", "jobs/{job}/cancel"].map((path) => `post /sessions/{session}/${path}`),
    ].sort(),
  );
  for (const item of Object.values(paths)) {
    for (const operation of Object.values(item)) {
      expect(operation.summary).toMatch(/\S/);
      expect(Object.keys(operation.responses)).toEqual(expect.arrayContaining(["4XX", "5XX"]));
    }
  }
  expect(paths["/sessions"]?.["post"]?.requestBody).toMatchObject({
    content: {
      "application/json": { schema: { type: "object", properties: { preset: {}, kind: {}, conf: {}, heartbeatTimeoutInSecond: {} } } },
    },
  });
  expect(paths["/sessions"]?.["post"]?.parameters?.map(({ name, in: place }) => `${place} ${name}`)).toEqual([
    "query doAs",
    "query dryRun",
  ]);
  expect(Object.keys(paths["/sessions"]?.["post"]?.responses ?? {})).toEqual(expect.arrayContaining(["200", "201"]));
  expect(
    paths["/sessions/{session}/statements/{statement}"]?.["get"]?.parameters?.map(({ name, in: place }) => `${place} ${name}`).sort(),
  ).toEqual([...["path session", "path statement", "query wait"]]);
});

test("the page to try it lives on what this server serves, and nothing else", async () => {
  await using service = await Service.start({ http: { basePath: "/base" } });
  const page = await service.ask("GET", "/base/docs/");
  expect(page.headers["content-security-policy"]).toMatch(/^default-src 'self'; script-src 'self'/);
  const links = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link ?? "");
  expect(links.length).toBeGreaterThan(3);
  for (const link of links) {
    const { pathname, host } = new URL(link, "http://localhost:8998/base/docs/");
    expect(host).toBe("localhost:8998");
    expect((await service.ask("GET", pathname)).status).toBe(200);
  }
  expect((await service.ask("GET", "/base/docs/json")).body).toMatchObject({ servers: [{ url: "/base" }], paths: { "/sessions": {} } });
});
