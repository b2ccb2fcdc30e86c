import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type { FastifyReply } from "fastify";
import { Type } from "typebox";
import type { Caller } from "../../core/access.ts";
import type { Face } from "../http.ts";
import type { App } from "../livy/room.ts";
import { channels } from "./channels.ts";
import { Kernels, type KernelsOptions } from "./kernels.ts";
import { kernelspecModel, readLogo } from "./kernelspecs.ts";
import { readLaunchWish, StartKernel } from "./launch-request.ts";
import { auditKernel, gateway, kernelModel, statusModel } from "./model.ts";
import { sessionRoutes } from "./session-routes.ts";

export interface JupyterOptions extends KernelsOptions {
  readonly basePath: string;
  /** The longest message on a WebSocket. */
  readonly messageLimitBytes: number;
}

/** Jupyter Server's version whose interface this is, as far as kernels go. */
const JUPYTER_SERVER_VERSION = "2.21.1";
const KernelParams = Type.Object({ kernel: Type.String() });

/** Jupyter's kernels over HTTP and WebSocket, as Jupyter Server and Kernel Gateway offer them. */
export const jupyterFace =
  (options: JupyterOptions): Face =>
  (plain, closing, admit) => {
    const app: App = plain.withTypeProvider<TypeBoxTypeProvider>();
    const kernels = new Kernels(options, closing);
    app.addHook("onRequest", async ({ params }) => {
      const { kernel } = params as { readonly kernel?: string };
      if (kernel !== undefined) await kernels.seek(kernel);
    });
    app.get("/api", gateway("Version of the interface", {}), () => ({ version: JUPYTER_SERVER_VERSION }));
    app.get("/api/status", gateway("How many kernels and connections there are", {}), ({ caller }) => statusModel(kernels.list(caller)));
    // VS Code asks for a password where this is anything but 200.
    app.get("/tree", gateway("", { hide: true }), () => "Here are Jupyter's kernels; notebooks are kept where Jupyter or VS Code runs.\n");
    kernelspecRoutes(app, kernels);
    kernelRoutes(app, kernels);
    sessionRoutes(app, kernels);
    channels(plain, kernels, { ...options, admit });
  };

const kernelspecRoutes = (app: App, kernels: Kernels): void => {
  const { kernelspecs } = kernels;
  app.get("/api/kernelspecs", gateway("Kinds of kernels", {}), ({ mount, caller }) => ({
    default: kernelspecs.default,
    kernelspecs: Object.fromEntries(kernelspecs.list(caller).map((spec) => [spec.name, kernelspecModel(spec, mount)])),
  }));
  const named = { params: Type.Object({ name: Type.String() }) };
  app.get("/api/kernelspecs/:name", gateway("One kind of kernel", named), ({ params, mount, caller }) =>
    kernelspecModel(kernelspecs.find(params.name, caller), mount),
  );
  const file = { params: Type.Object({ name: Type.String(), file: Type.String() }) };
  const sendLogo = async ({ params, caller }: { params: { name: string; file: string }; caller: Caller }, reply: FastifyReply) => {
    kernelspecs.find(params.name, caller);
    const { type, content } = await readLogo(params.file);
    return reply.type(type).header("cache-control", "private, max-age=3600").send(content);
  };
  app.get("/kernelspecs/:name/:file", gateway("A kernelspec's logo", file), sendLogo);
  app.get("/api/kernelspecs/:name/:file", gateway("", { ...file, hide: true }), sendLogo);
};

const kernelRoutes = (app: App, kernels: Kernels): void => {
  const one = { params: KernelParams };

  app.get("/api/kernels", gateway("Kernels you may see", {}), ({ caller }) => kernels.list(caller).map(kernelModel));

  app.post(
    "/api/kernels",
    gateway("Start a kernel", {
      description:
        "Answers at once: the kernel is `starting` while its Spark driver is. `longwick.session` or KERNEL_SESSION attaches to a session.",
      body: StartKernel,
    }),
    async (request, reply) => {
      const kernel = await kernels.start(readLaunchWish(request.body), request.caller, request.signal);
      auditKernel(request, "create", kernel);
      reply.code(201).header("location", `${request.mount}/api/kernels/${kernel.id}`);
      return kernelModel(kernel);
    },
  );

  app.get("/api/kernels/:kernel", gateway("One kernel", one), ({ params, caller }) =>
    kernelModel(kernels.find(params.kernel, caller, "view")),
  );

  app.delete("/api/kernels/:kernel", gateway("Shut a kernel down", one), async (request, reply) => {
    const kernel = kernels.find(request.params.kernel, request.caller, "modify");
    auditKernel(request, "delete", kernel);
    await kernels.shutDown(kernel);
    return reply.code(204).send();
  });

  app.post("/api/kernels/:kernel/interrupt", gateway("Interrupt what runs in a kernel", one), async (request, reply) => {
    const kernel = kernels.find(request.params.kernel, request.caller, "modify");
    await kernel.interrupt(request.signal);
    auditKernel(request, "interrupt", kernel);
    return reply.code(204).send();
  });

  app.post("/api/kernels/:kernel/restart", gateway("Restart a kernel's Python in place", one), async (request) => {
    const kernel = kernels.find(request.params.kernel, request.caller, "modify");
    await kernel.restart(request.signal);
    auditKernel(request, "restart", kernel);
    return kernelModel(kernel);
  });
};
