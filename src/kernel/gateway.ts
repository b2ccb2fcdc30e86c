/** A server, and how to show it who we are. */
export interface Address {
  /** Without a slash at its end. */
  readonly url: string;
  /** Value of the `Authorization` header; null: none. */
  readonly authorization: string | null;
}

/** What a kernel is started with. */
export interface StartOptions {
  /** Of the server's kernelspecs; null: its default. */
  readonly name: string | null;
  readonly env: Readonly<Record<string, string>>;
  /** The kernel ends when nobody has been connected to it for so long; 0: it does not. */
  readonly leaseMs: number;
}

/** A server answered that it will not do what was asked. */
export class GatewayError extends Error {
  override readonly name = "GatewayError";
  /** HTTP's. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const CALL_MS = 60_000;
/** Answers to a call about a kernel that has ended. */
const GONE: ReadonlySet<number> = new Set([400, 404, 409, 410]);

/** Kernels at a server, by the REST calls of Jupyter Server. */
export class Gateway {
  readonly #address: () => Address;

  /** @param address asked before each call: a token may be another one by then */
  constructor(address: () => Address) {
    this.#address = address;
  }

  /** Answers the new kernel's id. @throws GatewayError, and Error when the server cannot be reached */
  start({ name, env, leaseMs }: StartOptions): Promise<string> {
    return this.#call(async (api, settings) => {
      const longwick = leaseMs === 0 ? {} : { heartbeatTimeoutInSecond: Math.ceil(leaseMs / 1_000) };
      const options = { ...(name === null ? {} : { name }), env, longwick };
      const kernel = await api.startNew(options, settings);
      if ("longwick" in kernel) return kernel.id;
      // Another server would run again what is sent again after a lost connection.
      await api.shutdownKernel(kernel.id, settings);
      throw new GatewayError(501, `${settings.baseUrl} is no Longwick.`);
    });
  }

  /** Restarts a kernel in place; false when there is none of that id any more. @throws GatewayError, and Error when the server cannot be reached */
  async restart(id: string): Promise<boolean> {
    try {
      await this.#call((api, settings) => api.restartKernel(id, settings));
      return true;
    } catch (error) {
      if (error instanceof GatewayError && GONE.has(error.status)) return false;
      throw error;
    }
  }

  /** Ends a kernel; one that is not there any more has ended. @throws GatewayError, and Error when the server cannot be reached */
  end(id: string, withinMs: number): Promise<void> {
    return this.#call((api, settings) => api.shutdownKernel(id, settings), withinMs);
  }

  /** Address of a kernel's channels, for a WebSocket. `shared`: a browser may know the server too. */
  channels(id: string, session: string, shared: boolean): string {
    const query = `session_id=${session}${shared ? "" : "&reach=driver"}`;
    return `${this.#address().url.replace(/^http/, "ws")}/api/kernels/${encodeURIComponent(id)}/channels?${query}`;
  }

  get authorization(): string | null {
    return this.#address().authorization;
  }

  async #call<Answer>(call: (api: Api, settings: Settings) => Promise<Answer>, withinMs = CALL_MS): Promise<Answer> {
    // Loaded here, because a kernel has to answer before it needs a server.
    const [{ default: api }, { ServerConnection }] = await Promise.all([
      import("@jupyterlab/services/lib/kernel/restapi.js"),
      import("@jupyterlab/services/lib/serverconnection.js"),
    ]);
    const { url, authorization } = this.#address();
    const settings = ServerConnection.makeSettings({
      baseUrl: url,
      token: "",
      init: { cache: "no-store", headers: authorization === null ? {} : { Authorization: authorization } },
      fetch: (input, init) => fetch(input, { ...init, signal: AbortSignal.timeout(withinMs) }).catch(tellWhy),
    });
    try {
      return await call(api, settings);
    } catch (error) {
      if (error instanceof GatewayError) throw error;
      if (error instanceof ServerConnection.ResponseError) throw new GatewayError(error.response.status, error.message);
      throw new Error(`${url} cannot be reached: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}

/** `fetch failed` says nothing, and what calls it keeps the message alone. */
const tellWhy = (error: unknown): never => {
  throw error instanceof Error && error.cause instanceof Error ? error.cause : error;
};

type Api = typeof import("@jupyterlab/services/lib/kernel/restapi.js");
type Settings = import("@jupyterlab/services").ServerConnection.ISettings;
