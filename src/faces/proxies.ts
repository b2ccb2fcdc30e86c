import type { IncomingMessage } from "node:http";
import { BlockList, isIPv6 } from "node:net";

type Incoming = Pick<IncomingMessage, "headers" | "socket">;

/** Where a request really comes from and whither it was sent, as trusted proxies tell; nobody else's `X-Forwarded-*` is looked at. */
export class Proxies {
  readonly #trusted = new BlockList();
  readonly #any: boolean;

  /** @throws Error for what is neither an address nor a network in CIDR notation */
  constructor(addresses: readonly string[]) {
    this.#any = addresses.length > 0;
    for (const address of addresses) {
      const [host = "", bits] = address.split("/");
      const family = isIPv6(host) ? "ipv6" : "ipv4";
      if (bits === undefined) this.#trusted.addAddress(host, family);
      else this.#trusted.addSubnet(host, Number(bits), family);
    }
  }

  /** The caller's address: the nearest one that is no trusted proxy's. */
  remoteOf(request: Incoming): string {
    const peer = plain(request.socket.remoteAddress ?? "");
    if (!this.#trusts(peer)) return peer;
    const hops = String(request.headers["x-forwarded-for"] ?? "").split(",");
    let remote = peer;
    while (hops.length > 0 && this.#trusts(remote)) remote = plain(hops.pop()?.trim() || remote);
    return remote;
  }

  /** Name and port the caller used. */
  hostOf(request: Incoming): string {
    return this.#told(request, "x-forwarded-host") ?? request.headers.host ?? "";
  }

  protocolOf(request: Incoming): "http" | "https" {
    const told = this.#told(request, "x-forwarded-proto");
    if (told === "http" || told === "https") return told;
    return "encrypted" in request.socket ? "https" : "http";
  }

  /** The path a proxy took off before it passed the request on: empty, or `/prefix`. */
  prefixOf(request: Incoming): string {
    const told = this.#told(request, "x-forwarded-prefix") ?? "";
    return /^(\/[\w.~-]+)+\/?$/.test(told) ? told.replace(/\/$/, "") : "";
  }

  /** What the nearest proxy said, if it is trusted. */
  #told(request: Incoming, header: string): string | undefined {
    if (!this.#any) return undefined;
    const value = request.headers[header];
    if (value === undefined || !this.#trusts(plain(request.socket.remoteAddress ?? ""))) return undefined;
    return String(value).split(",").at(-1)?.trim();
  }

  #trusts(address: string): boolean {
    return this.#any && address !== "" && this.#trusted.check(address, isIPv6(address) ? "ipv6" : "ipv4");
  }
}

/** An IPv4 address that an IPv6 socket reports, as IPv4. */
const plain = (address: string): string => (address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address);
