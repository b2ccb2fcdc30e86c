import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance, FastifyRequest } from "fastify";

/** Everything the page needs comes from this server: it works on machines without a network. */
const PAGE_POLICY =
  "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; frame-ancestors 'self'";

/**
 * `/openapi.json`, made from the schemas of every route registered after this in the same scope, and `/docs`, a page to read and try it.
 * Both name the server by the path the caller sees.
 */
export const openApi = async (app: FastifyInstance, version: string): Promise<void> => {
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Longwick",
        version,
        description: "Interactive Apache Spark: sessions and statements, as Apache Livy 0.9 offers them.",
        license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      },
      components: {
        securitySchemes: { password: { type: "http", scheme: "basic" }, token: { type: "http", scheme: "bearer" } },
      },
      security: [{}, { password: [] }, { token: [] }],
    },
    stripBasePath: false,
  });
  const documentFor = ({ mount }: FastifyRequest) => {
    const document = app.swagger();
    const paths = Object.entries(document.paths ?? {}).map(([path, item]) => [path.slice(app.prefix.length) || "/", item]);
    return { ...document, servers: [{ url: mount || "/" }], paths: Object.fromEntries(paths) };
  };
  app.get("/openapi.json", { schema: { hide: true } }, documentFor);
  await app.register(swaggerUi, {
    routePrefix: "/docs",
    staticCSP: PAGE_POLICY,
    transformSpecification: (_document, request) => documentFor(request),
    transformSpecificationClone: false,
    uiConfig: { tryItOutEnabled: true, displayRequestDuration: true },
  });
};
