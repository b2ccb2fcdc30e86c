import { execFileSync } from "node:child_process";

/** An upload as the server shows it. */
export interface UploadInfo {
  readonly id: string;
  readonly uri: string;
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
  readonly owner: string | null;
  readonly proxyUser: string | null;
  readonly createdMs: number;
  readonly usedMs: number;
}

/** Sends a file as a browser or curl would; the answer's status and body. */
export const sendFile = async (
  url: string,
  name: string,
  content: Uint8Array | string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly status: number; readonly body: UploadInfo & { readonly msg: string } }> => {
  const form = new FormData();
  form.append("file", new Blob([content]), name);
  const answer = await fetch(url, { method: "POST", body: form, headers });
  // A test's border: assertions look at what is in it.
  return { status: answer.status, body: (await answer.json()) as UploadInfo & { msg: string } };
};

const ZIP = `import io, json, sys, zipfile
out = io.BytesIO()
with zipfile.ZipFile(out, "w") as archive:
    for name, text in json.load(sys.stdin).items():
        archive.writestr(name, text)
sys.stdout.buffer.write(out.getvalue())`;

/** A zip file with these texts, by Python's own module. */
export const zipOf = (files: Readonly<Record<string, string>>): Uint8Array<ArrayBuffer> =>
  new Uint8Array(execFileSync("python3", ["-c", ZIP], { input: JSON.stringify(files) }));

/** A wheel of pure Python with one module, as a build tool makes it. */
export const wheelOf = (module: string, source: string): { readonly name: string; readonly content: Uint8Array<ArrayBuffer> } => {
  const info = `${module}-1.2.dist-info`;
  return {
    name: `${module}-1.2-py3-none-any.whl`,
    content: zipOf({
      [`${module}/__init__.py`]: source,
      [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${module}\nVersion: 1.2\n`,
      [`${info}/WHEEL`]: "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
      [`${info}/RECORD`]: "",
    }),
  };
};
