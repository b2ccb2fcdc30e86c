import { type Api, isStatus } from "../../src/launch/kubernetes/api.ts";
import { prepareNamespace, soon, testApi } from "../../test/kit/cluster.ts";
import { until } from "../../test/kit/until.ts";

/** Away from the tests' one, whose events every server in it is told of. */
export const BENCH_NAMESPACE = "longwick-bench";
const PATH = `api/v1/namespaces/${BENCH_NAMESPACE}`;
const GONE_MS = 180_000;

/** The namespace while it is measured in: made new, and gone afterwards with all that is left in it. */
export class BenchNamespace implements AsyncDisposable {
  readonly #api: Api;

  private constructor(api: Api) {
    this.#api = api;
  }

  static async make(): Promise<BenchNamespace> {
    const made = new BenchNamespace(testApi());
    await made.#remove();
    await prepareNamespace(made.#api, BENCH_NAMESPACE);
    return made;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#remove();
    this.#api.close();
  }

  async #remove(): Promise<void> {
    await this.#api.delete(PATH, soon());
    await until(`the namespace ${BENCH_NAMESPACE} is gone`, GONE_MS, async () => ((await this.#isThere()) ? undefined : true), 500);
  }

  async #isThere(): Promise<boolean> {
    try {
      await this.#api.get(PATH, soon());
      return true;
    } catch (error) {
      if (isStatus(error, 404)) return false;
      throw error;
    }
  }
}
