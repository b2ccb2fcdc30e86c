import type { FastifyRequest } from "fastify";
import { Type } from "typebox";
import { v5 as uuidv5 } from "uuid";
import type { Caller } from "../../core/access.ts";
import { Problem } from "../../core/problems.ts";
import type { App } from "../livy/room.ts";
import type { Kernel } from "./kernel.ts";
import type { Kernels } from "./kernels.ts";
import { readLaunchWish } from "./launch-request.ts";
import { auditKernel, gateway, kernelModel } from "./model.ts";

const NAMESPACE = "0d5c1f5c-7f6e-5b52-8f55-6a2f2f6f4f10";
const Text = Type.Union([Type.String(), Type.Null()]);
const KernelWish = Type.Object({ id: Type.Optional(Text), name: Type.Optional(Text) });
const JupyterSession = Type.Object({
  path: Type.Optional(Text),
  name: Type.Optional(Text),
  type: Type.Optional(Text),
  kernel: Type.Optional(Type.Union([KernelWish, Type.Null()])),
});
const SessionParams = Type.Object({ session: Type.String() });

interface Names {
  readonly path: string;
  readonly name: string;
  readonly type: string;
}

/**
 * Jupyter's sessions: a kernel and the document that uses it. A kernel remembers the document it was started for; later names, and which
 * kernel took another's place, live as long as this server.
 */
export const sessionRoutes = (app: App, kernels: Kernels): void => {
  const renamed = new WeakMap<Kernel, Names>();
  const exchanged = new WeakMap<Kernel, string>();
  const idOf = (kernel: Kernel) => exchanged.get(kernel) ?? uuidv5(kernel.id, NAMESPACE);
  const model = (kernel: Kernel) => {
    const path = kernel.session.spec.kernel?.path ?? `session-${kernel.session.id}`;
    const names = renamed.get(kernel) ?? { path, name: kernel.session.name ?? path, type: "notebook" };
    return { id: idOf(kernel), ...names, kernel: kernelModel(kernel), notebook: { path: names.path, name: names.name } };
  };
  const find = (id: string, caller: Caller): Kernel => {
    const kernel = kernels.list(caller).find((each) => idOf(each) === id);
    if (kernel === undefined) throw new Problem("NOT_FOUND", `Session does not exist: ${id.slice(0, 100)}`);
    return kernel;
  };
  const rename = (kernel: Kernel, body: { path?: string | null; name?: string | null; type?: string | null }) => {
    const { path, name, type } = model(kernel);
    renamed.set(kernel, { path: body.path ?? path, name: body.name ?? name, type: body.type ?? type });
  };
  /** The caller's own kernel for a document: who opens it once more goes on there, and starts no other driver. */
  const openFor = (path: string, caller: Caller): Kernel | undefined =>
    kernels
      .list(caller)
      .filter(({ session, executionState }) => session.owner === caller.name && executionState !== "dead")
      .findLast((each) => (renamed.get(each)?.path ?? each.session.spec.kernel?.path) === path);
  const opening = new Map<string, Promise<Kernel>>();
  /** A document's kernel. Who asks while it is being started goes on in that one, unless it could not be. */
  const open = async (path: string, caller: Caller, start: () => Promise<Kernel>): Promise<Kernel> => {
    const key = JSON.stringify([caller.name, path]);
    for (let before = opening.get(key); before !== undefined; before = opening.get(key)) await before.catch(() => {});
    const there = openFor(path, caller);
    if (there !== undefined) return there;
    const starting = start().finally(() => opening.delete(key));
    opening.set(key, starting);
    return starting;
  };
  /** Another kernel for a document; the one before ends, as Jupyter Server has it. */
  const change = async (request: Pick<FastifyRequest, "caller">, before: Kernel, kernel: Kernel): Promise<void> => {
    if (kernel === before) return;
    const [id, other] = [idOf(before), idOf(kernel)];
    exchanged.set(kernel, id).set(before, other);
    rename(kernel, model(before));
    auditKernel(request, "delete", before);
    await kernels.shutDown(before);
  };
  const one = { params: SessionParams };

  app.get("/api/sessions", gateway("Documents and their kernels", {}), ({ caller }) => kernels.list(caller).map(model));

  app.post("/api/sessions", gateway("Start a document's kernel", { body: JupyterSession }), async (request, reply) => {
    const { body, caller } = request;
    const { id = null, name = null } = body.kernel ?? {};
    const start = async () => {
      const kernel = await kernels.start(readLaunchWish({ name, path: body.path ?? null }), caller, request.signal);
      auditKernel(request, "create", kernel);
      rename(kernel, body);
      return kernel;
    };
    if (id === null) return reply.code(201).send(model(await (body.path ? open(body.path, caller, start) : start())));
    const kernel = kernels.find(id, caller, "modify");
    rename(kernel, body);
    return reply.code(201).send(model(kernel));
  });

  app.get("/api/sessions/:session", gateway("One document's kernel", one), ({ params, caller }) => model(find(params.session, caller)));

  app.patch(
    "/api/sessions/:session",
    gateway("Rename a document, or give it another kernel", { ...one, body: JupyterSession }),
    async (request) => {
      const { body, caller, params } = request;
      const before = kernels.find(find(params.session, caller).id, caller, "modify");
      const path = body.path ?? model(before).path;
      const { id = null, name = null } = body.kernel ?? {};
      const started = () => kernels.start(readLaunchWish({ name, path }), caller, request.signal);
      const kernel = id !== null ? kernels.find(id, caller, "modify") : name !== null ? await started() : before;
      if (id === null && name !== null) auditKernel(request, "create", kernel);
      await change(request, before, kernel);
      rename(kernel, body);
      return model(kernel);
    },
  );

  app.delete("/api/sessions/:session", gateway("Shut a document's kernel down", one), async (request, reply) => {
    const { caller, params } = request;
    const kernel = kernels.find(find(params.session, caller).id, caller, "modify");
    auditKernel(request, "delete", kernel);
    await kernels.shutDown(kernel);
    return reply.code(204).send();
  });
};
