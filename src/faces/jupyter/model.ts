import type { FastifyRequest } from "fastify";
import { Type } from "typebox";
import { type AuditEvent, publishAudit } from "../../core/events.ts";
import type { Problem } from "../../core/problems.ts";
import type { Kernel } from "./kernel.ts";

const Refusal = Type.Object({ message: Type.String(), reason: Type.String() });
/** For the OpenAPI document; nothing is serialised by it. */
const REFUSALS: object = { "4xx": Refusal, "5xx": Refusal };

/** A route of this face: how its clients want to be refused, and what the OpenAPI document says of it. */
export const gateway = <Schema extends object>(summary: string, schema: Schema) => ({
  config: { refusal: ({ message }: Problem) => ({ message, reason: message }) },
  schema: { tags: ["kernels"], summary, response: REFUSALS, ...schema },
});

export const statusModel = (kernels: readonly Kernel[]) => ({
  started: new Date(kernels[0]?.serverStartMs ?? Date.now()).toISOString(),
  last_activity: new Date(Math.max(0, ...kernels.map(({ session }) => session.activityMs)) || Date.now()).toISOString(),
  kernels: kernels.length,
  connections: kernels.reduce((sum, { connections }) => sum + connections, 0),
});

/** As Jupyter Server shows a kernel. */
export const kernelModel = (kernel: Kernel) => ({
  id: kernel.id,
  name: kernel.name,
  last_activity: new Date(kernel.session.activityMs).toISOString(),
  execution_state: kernel.executionState,
  connections: kernel.connections,
  longwick: { session: kernel.session.id, sessionName: kernel.session.name },
});

export const auditKernel = ({ caller }: Pick<FastifyRequest, "caller">, action: AuditEvent["action"], { session }: Kernel): void =>
  publishAudit({
    ...{ action, user: caller.name, remote: caller.remote, proxyUser: session.proxyUser, session: session.id },
    ...{ statement: null, problem: null },
  });
