import { defineConfig } from "vitest/config";

/** How long what is polled for may take; Vitest's own second is nothing on a loaded machine. What never becomes true still fails. */
const POLL_MS = 30_000;

/**
 * `unit` starts no process; `real` runs our server and real drivers against the clients people use; `browser` does so through
 * JupyterLab in Chromium, `cluster` on the Kubernetes that KUBECONFIG names, and `cluster-schedules` there, before it. Nothing is retried.
 */
export default defineConfig({
  test: {
    retry: 0,
    passWithNoTests: false,
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/real/**", "test/browser/**", "test/cluster/**"],
          testTimeout: 10_000,
          hookTimeout: 10_000,
          expect: { poll: { timeout: 8_000 } },
        },
      },
      {
        test: {
          name: "real",
          include: ["test/real/**/*.test.ts"],
          globalSetup: ["test/kit/real-setup.ts"],
          // Each file starts Sparks; two at once on a small machine would only make every deadline a matter of luck.
          fileParallelism: false,
          expect: { poll: { timeout: POLL_MS } },
          testTimeout: 120_000,
          hookTimeout: 300_000,
          teardownTimeout: 60_000,
        },
      },
      {
        test: {
          name: "browser",
          include: ["test/browser/**/*.test.ts"],
          globalSetup: ["test/kit/browser-setup.ts"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          teardownTimeout: 60_000,
        },
      },
      {
        test: {
          name: "cluster",
          include: ["test/cluster/**/*.test.ts"],
          exclude: ["test/cluster/schedule*.test.ts"],
          globalSetup: ["test/kit/cluster-setup.ts"],
          fileParallelism: false,
          expect: { poll: { timeout: POLL_MS } },
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
          hookTimeout: 120_000,
          teardownTimeout: 60_000,
        },
      },
      {
        // What these do is wait for the minutes at which Kubernetes begins what is due.
        test: {
          name: "cluster-schedules",
          include: ["test/cluster/schedule*.test.ts"],
          maxWorkers: 3,
          globalSetup: ["test/kit/cluster-setup.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          teardownTimeout: 60_000,
        },
      },
    ],
  },
});
