import { type ClusterSite, IMAGE, inNamespace, soon } from "./cluster.ts";
import { until } from "./until.ts";

/** What sessions are given by URI; `repository` is a Maven repository with org.example:greeting:1.0. */
const PROGRAM = `
import http.server, os, zipfile
os.chdir("/tmp")
def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
for name in os.listdir("/files"):
    os.path.isfile("/files/" + name) and os.symlink("/files/" + name, name)
if os.path.exists("prepare.py"):
    exec(open("prepare.py").read())
open("helper.py", "w").write("def answer(n): return n + 41")
open("data.txt", "w").write("some data")
archive("tools.zip", tool="a tool")
archive("lib.jar", mark="in a jar")
home = "repository/org/example/greeting/1.0"
os.makedirs(home)
archive(home + "/greeting-1.0.jar", greeting="from a package")
open(home + "/greeting-1.0.pom", "w").write(
    "<project><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId><artifactId>greeting</artifactId><version>1.0</version></project>"
)
http.server.test(HandlerClass=http.server.SimpleHTTPRequestHandler, port=8000, bind="0.0.0.0")
`;

/**
 * Starts an HTTP server in the cluster, where pods reach it; answers its URL. It goes with the site's other pods. `files`: more of them; a
 * `prepare.py` among them is run there first.
 */
export const serveFiles = async ({ api, settings }: ClusterSite, files: Readonly<Record<string, Uint8Array>> = {}): Promise<string> => {
  const name = `${settings.instance}-files`;
  const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };
  const metadata = { name, labels: { "app.kubernetes.io/instance": settings.instance } };
  const binaryData = Object.fromEntries(Object.entries(files).map(([file, content]) => [file, Buffer.from(content).toString("base64")]));
  await api.create(inNamespace("configmaps"), { metadata, binaryData }, soon());
  const pod = {
    metadata,
    spec: {
      securityContext: { runAsNonRoot: true, runAsUser: settings.runAsUser, seccompProfile: { type: "RuntimeDefault" } },
      terminationGracePeriodSeconds: 0,
      volumes: [{ name: "files", configMap: { name } }],
      containers: [
        {
          ...{ name: "files", image: IMAGE, imagePullPolicy: "IfNotPresent", command: ["python3", "-c", PROGRAM], securityContext },
          volumeMounts: [{ name: "files", mountPath: "/files" }],
          readinessProbe: { httpGet: { path: "/data.txt", port: 8000 }, periodSeconds: 1 },
        },
      ],
    },
  };
  await api.create(inNamespace("pods"), pod, soon());
  interface Status {
    readonly status?: { readonly podIP?: string; readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
  }
  return until("the file server is ready", 60_000, async () => {
    const { status } = await api.get<Status>(inNamespace("pods", name), soon());
    const ready = status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True");
    return ready ? `http://${status?.podIP}:8000` : undefined;
  });
};
