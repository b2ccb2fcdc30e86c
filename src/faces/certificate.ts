import { readFile } from "node:fs/promises";
import type { Server } from "node:https";

export interface CertificateFiles {
  /** Certificate chain and private key, PEM. */
  readonly cert: string;
  readonly key: string;
}

/** How often the files are looked at; certificates are renewed days before they end. */
const LOOK_EVERY_MS = 30_000;

/** A server's certificate, read again when it was renewed: connections that are there go on, new ones get the new one. */
export class Certificate {
  readonly #files: CertificateFiles;
  readonly #onFault: (message: string) => void;
  #pem: { readonly cert: string; readonly key: string };

  /** Rejects when a file cannot be read. */
  static async open(files: CertificateFiles, onFault: (message: string) => void): Promise<Certificate> {
    return new Certificate(files, onFault, await read(files));
  }

  private constructor(files: CertificateFiles, onFault: (message: string) => void, pem: { cert: string; key: string }) {
    this.#files = files;
    this.#onFault = onFault;
    this.#pem = pem;
  }

  /** As `node:https` takes it. */
  get pem(): { readonly cert: string; readonly key: string } {
    return this.#pem;
  }

  /** Looks at the files now and then, until the returned function is called. */
  follow(server: Server): () => void {
    const timer = setInterval(() => void this.renew(server), LOOK_EVERY_MS).unref();
    return () => clearInterval(timer);
  }

  /** Takes over what the files hold if that has changed; never rejects: half a renewal (the one file without the other) leaves what was. */
  async renew(server: Server): Promise<void> {
    try {
      const pem = await read(this.#files);
      if (pem.cert === this.#pem.cert && pem.key === this.#pem.key) return;
      server.setSecureContext(pem);
      this.#pem = pem;
    } catch (error) {
      this.#onFault(
        `the renewed certificate cannot be used yet, the old one goes on: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
}

const read = async ({ cert, key }: CertificateFiles): Promise<{ cert: string; key: string }> => ({
  cert: await readFile(cert, "utf8"),
  key: await readFile(key, "utf8"),
});
