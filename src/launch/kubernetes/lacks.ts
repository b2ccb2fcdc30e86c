import type { ApiError } from "./api.ts";

/** What the server's own account lacks for what it was about to do. */
export interface Lack {
  /** Whether the API server does not know who asks; else it knows, and refuses the right. */
  readonly unknown: boolean;
  /** Who may not do what, where, and who can change that. */
  readonly reason: string;
}

/** How the API server words it that whoever asks has no right to that (k8s.io/apiserver, responsewriters.Forbidden). */
const NO_RIGHT = /User "([^"]*)" cannot (\S+) resource "([^"]*)" in API group "([^"]*)"(?: in the namespace "([^"]*)")?/;

/** Whether it is who asks that is refused; else what was asked for may be at fault (quotas, Pod Security, webhooks). */
export const isLack = ({ status, message }: ApiError): boolean => status === 401 || (status === 403 && NO_RIGHT.test(message));

/** In words for a session's log; null for what has to do with no account. */
export const readLack = ({ status, reason, message }: ApiError): Lack | null => {
  if (status === 401)
    return {
      unknown: true,
      reason: `The API server does not accept the server's credentials (${message}). Whoever runs the server has to renew them; those in a kubeconfig are read when the server starts.`,
    };
  if (status !== 403) return null;
  const [, user, verb, resource, group = "", namespace] = NO_RIGHT.exec(message) ?? [];
  if (user === undefined)
    return { unknown: false, reason: `Kubernetes refuses what the server does for the driver (${reason}): ${message}` };
  const what = group === "" ? resource : `${resource}.${group}`;
  const where = namespace === undefined ? "in the cluster" : `in namespace ${namespace}`;
  return {
    unknown: false,
    reason: `The server's account ${user} may not ${verb} ${what} ${where}. Whoever runs the server can give it that right (docs/kubernetes.md has the Roles).`,
  };
};
