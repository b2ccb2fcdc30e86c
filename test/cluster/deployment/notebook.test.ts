import { expect, test } from "vitest";
import { type Deployment, deploy } from "../../kit/deployment.ts";
import { startOutside } from "../../kit/outside.ts";
import { sparkmagicNotebook } from "../../kit/sparkmagic-notebook.ts";

/** A pod may have to wait for its node or its image: docs/kubernetes.md tells people to set this. */
const PATIENCE = { livy_session_startup_timeout_seconds: 300 };
/** A small node runs drivers, executors and the cluster itself. */
const LIMITS = { runMs: 560_000, interruptSeconds: 30 };

let deployment: Deployment;

const ranOnExecutors = (): void => {
  test("its jobs ran on executor pods of its drivers", async () => {
    const of = ["get", "events", "--field-selector=reason=Started,involvedObject.kind=Pod"];
    const started = (await deployment.sessionsKubectl(...of, "--output=jsonpath={.items[*].involvedObject.name}")).split(" ");
    const drivers = started.filter((name) => !name.includes("-exec-"));
    expect(drivers.length).toBeGreaterThan(1);
    // A session that %%configure replaces may go before its executor comes.
    expect(drivers.some((name) => started.includes(`${name}-exec-1`))).toBe(true);
  });
};

sparkmagicNotebook(
  "a Sparkmagic notebook on a server in the cluster",
  async () => {
    deployment = await deploy();
    const way = await deployment.reach();
    return {
      url: way.url,
      settings: { ...PATIENCE, custom_headers: deployment.headers },
      async [Symbol.asyncDispose]() {
        await way[Symbol.asyncDispose]();
        await deployment[Symbol.asyncDispose]();
      },
    };
  },
  LIMITS,
  ranOnExecutors,
);

sparkmagicNotebook(
  "a Sparkmagic notebook on a server outside of the cluster",
  async () => {
    deployment = await deploy({ replicas: 0 });
    const server = await startOutside(deployment);
    return {
      url: server.url,
      settings: PATIENCE,
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        await deployment[Symbol.asyncDispose]();
      },
    };
  },
  LIMITS,
  ranOnExecutors,
);
