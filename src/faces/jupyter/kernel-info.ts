import type { Connection } from "./connection.ts";
import type { Kernel } from "./kernel.ts";
import { type Content, MESSAGING_VERSION } from "./messages.ts";
import { sparkUiFor } from "./spark-ui-link.ts";

/** Of drivers that have not said which Python they are. */
const SOME_PYTHON = "3";

/** What is known of the kernel, from configuration alone while its driver does not run. */
export const kernelInfo = ({ session, parts }: Kernel, connection: Connection): Content => {
  const { facts } = session;
  const url = sparkUiFor(session, connection) ?? "";
  const ui = /^https?:\/\//.test(url) ? [{ text: "Spark UI", url }] : [];
  return {
    status: "ok",
    protocol_version: MESSAGING_VERSION,
    implementation: "longwick",
    implementation_version: parts.version,
    language_info: {
      name: "python",
      version: facts?.python ?? SOME_PYTHON,
      mimetype: "text/x-python",
      file_extension: ".py",
      pygments_lexer: "ipython3",
      codemirror_mode: { name: "ipython", version: 3 },
      nbconvert_exporter: "python",
    },
    banner:
      facts === null
        ? "PySpark by Longwick"
        : `PySpark by Longwick: Spark ${facts.spark}, Python ${facts.python}\nThe session is \`spark\`.`,
    help_links: [
      ...ui,
      { text: "PySpark reference", url: "https://spark.apache.org/docs/latest/api/python/reference/index.html" },
      { text: "Spark SQL guide", url: "https://spark.apache.org/docs/latest/sql-programming-guide.html" },
    ],
    debugger: false,
    supported_features: [],
  };
};
