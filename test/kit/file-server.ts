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

/** Starts an HTTP server in the cluster, where pods reach it; answers its URL. It goes with the site's other pods. */
export const serveFiles = async ({ api, settings }: ClusterSite): Promise<string> => {
  const name = `${settings.instance}-files`;
  const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };
  const pod = {
    metadata: { name, labels: { "app.kubernetes.io/instance": settings.instance } },
    spec: {
      securityContext: { runAsNonRoot: true, runAsUser: settings.runAsUser, seccompProfile: { type: "RuntimeDefault" } },
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          ...{ name: "files", image: IMAGE, imagePullPolicy: "IfNotPresent", command: ["python3", "-c", PROGRAM], securityContext },
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
