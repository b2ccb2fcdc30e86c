import type { RouteOptions } from "fastify";

/** Which methods an address knows: what a 405 must say, and fastify does not tell. Asked only when nothing matched. */
export class RouteTable {
  readonly #methods = new Map<string, { pattern: RegExp; methods: Set<string> }>();

  add({ url, method }: Pick<RouteOptions, "url" | "method">): void {
    const known = this.#methods.get(url) ?? { pattern: patternOf(url), methods: new Set() };
    for (const name of [method].flat()) known.methods.add(name.toUpperCase());
    this.#methods.set(url, known);
  }

  /** Empty when nothing is at this path. */
  methodsOf(path: string): string[] {
    const plain = path.replaceAll(/\/{2,}/g, "/").replace(/(.)\/$/, "$1");
    const all = [...this.#methods.values()].filter(({ pattern }) => pattern.test(plain)).flatMap(({ methods }) => [...methods]);
    return [...new Set(all)].sort();
  }
}

const patternOf = (url: string): RegExp => {
  const parts = (url.replace(/(.)\/$/, "$1") || "/").split("/").map((part) => {
    if (part.startsWith(":")) return "[^/]+";
    return part === "*" ? ".*" : part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${parts.join("/")}$`);
};
