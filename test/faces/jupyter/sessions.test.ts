import { expect, test } from "vitest";
import { Service } from "../service.ts";

/** Jupyter's sessions: documents and their kernels, as VS Code and other programs open them. */

interface Model {
  readonly id: string;
  readonly path: string;
  readonly kernel: { readonly id: string };
}

const open = async (service: Service, body: object): Promise<Model> => {
  const answer = await service.ask("POST", "/api/sessions", { body });
  expect(answer.status).toBe(201);
  // Jupyter's shape of a session.
  return answer.body as Model;
};

const list = async (service: Service): Promise<readonly Model[]> => (await service.ask("GET", "/api/sessions")).body as readonly Model[];

test("a document that is opened once more goes on with its kernel; another one, and one without a name, gets its own", async () => {
  await using service = await Service.start();
  const first = await open(service, { path: "a.ipynb", type: "notebook", kernel: { name: "spark" } });
  const again = await open(service, { path: "a.ipynb", type: "notebook", kernel: { name: "spark" } });
  expect([again.id, again.kernel.id]).toEqual([first.id, first.kernel.id]);
  const others = [await open(service, { path: "b.ipynb", type: "notebook" }), await open(service, {}), await open(service, {})];
  expect(new Set([first, ...others].map(({ kernel }) => kernel.id)).size).toBe(4);
  expect(service.launcher.drivers).toHaveLength(4);
});

test("a document that is opened several times at once gets one kernel, though the first to ask gets none", async () => {
  await using service = await Service.start();
  const ask = (name: string, path = "a.ipynb") => service.ask("POST", "/api/sessions", { body: { path, kernel: { name } } });
  const claimed = Promise.withResolvers<void>();
  service.launcher.answering = claimed.promise;
  const asked = Promise.all(["no-such-kernel", "spark", "spark", "spark"].map((name) => ask(name)));
  // By its answer the server has read what was asked before it.
  await ask("no-such-kernel", "b.ipynb");
  claimed.resolve();
  const [refused, ...opened] = await asked;
  expect(refused?.status).toBe(404);
  expect(opened.map(({ status }) => status)).toEqual([201, 201, 201]);
  expect(new Set(opened.map(({ body }) => (body as Model).kernel.id)).size).toBe(1);
  expect(service.launcher.drivers).toHaveLength(1);
});

test("a document whose kernel has ended gets a new one", async () => {
  await using service = await Service.start();
  const { kernel, id } = await open(service, { path: "a.ipynb" });
  expect((await service.ask("DELETE", `/api/sessions/${id}`)).status).toBe(204);
  expect((await open(service, { path: "a.ipynb" })).kernel.id).not.toBe(kernel.id);
});

test("a document that is given another kernel keeps its name and its id, and the kernel before ends", async () => {
  await using service = await Service.start();
  const before = await open(service, { path: "a.ipynb", name: "a", type: "notebook" });
  const { status, body } = await service.ask("PATCH", `/api/sessions/${before.id}`, { body: { kernel: { name: "spark" } } });
  const after = body as Model;
  expect(status).toBe(200);
  expect({ ...after, kernel: null }).toEqual({ ...before, kernel: null });
  expect(after.kernel.id).not.toBe(before.kernel.id);
  expect((await service.ask("GET", `/api/kernels/${before.kernel.id}`)).status).toBe(404);
  expect((await list(service)).map(({ id, kernel }) => [id, kernel.id])).toEqual([[before.id, after.kernel.id]]);
  expect((await service.ask("DELETE", `/api/sessions/${before.id}`)).status).toBe(204);
  expect(await list(service)).toEqual([]);
});

test("a server that asks for no password says so where VS Code looks", async () => {
  await using service = await Service.start();
  expect((await service.ask("GET", "/tree?")).status).toBe(200);
});
