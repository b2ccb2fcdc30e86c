import { Problem } from "./problems.ts";

/** Who is calling. `name` null: authentication is off and everybody is the one user of the machine. */
export interface Caller {
  readonly name: string | null;
  /** Address of the caller, for audit; null for the server itself. */
  readonly remote: string | null;
}

/** Livy's access lists; `*` in one stands for everybody. */
export interface AccessRules {
  readonly superusers: readonly string[];
  readonly viewUsers: readonly string[];
  readonly modifyUsers: readonly string[];
  /** Who may use the server at all; empty: whoever can log in. */
  readonly allowedUsers: readonly string[];
  /** Who may name another `proxyUser` than themselves; superusers always may. */
  readonly impersonators: readonly string[];
}

export type Right = "view" | "modify";

/** Whether an access list names somebody, or everybody. */
export const listed = (list: readonly string[], name: string): boolean => list.includes(name) || list.includes("*");

/** Who may do what: the owner and the proxy user everything; superusers everything; modify includes view (Livy's AccessManager). */
export class Access {
  readonly #rules: AccessRules;

  constructor(rules: AccessRules) {
    this.#rules = rules;
  }

  may(caller: Caller, right: Right, session: { readonly owner: string | null; readonly proxyUser: string | null }): boolean {
    const { name } = caller;
    if (name === null || name === session.owner || name === session.proxyUser) return true;
    const { superusers, modifyUsers, viewUsers } = this.#rules;
    return listed(superusers, name) || listed(modifyUsers, name) || (right === "view" && listed(viewUsers, name));
  }

  /** Whether something that is for these users is for the caller; an empty list is for everybody. */
  includes(users: readonly string[], { name }: Caller): boolean {
    return name === null || users.length === 0 || listed(users, name) || listed(this.#rules.superusers, name);
  }

  /** @throws Problem FORBIDDEN when the caller may not use the server. */
  checkAllowed(caller: Caller): void {
    if (this.includes(this.#rules.allowedUsers, caller)) return;
    throw new Problem("FORBIDDEN", `User '${caller.name}' is not allowed to use this server.`);
  }

  /** @throws Problem FORBIDDEN when the caller may not have Spark run as `proxyUser`. */
  checkProxyUser(caller: Caller, proxyUser: string | null): void {
    if (proxyUser === null || proxyUser === caller.name) return;
    const { superusers, impersonators } = this.#rules;
    const list = [...superusers, ...impersonators];
    if (caller.name === null ? impersonators.includes("*") : listed(list, caller.name)) return;
    const who = caller.name === null ? "Without authentication nobody is" : `User '${caller.name}' is not`;
    throw new Problem("FORBIDDEN", `${who} allowed to impersonate '${proxyUser}'. Ask the operator for a place in \`impersonators\`.`, {
      proxyUser,
    });
  }
}
