import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DRIVER_IMAGE, SERVER_IMAGE } from "../../kit/cluster.ts";
import { kubectl } from "../../kit/kubectl.ts";
import { until } from "../../kit/until.ts";

/** The page as somebody follows it: its own lines, but for where the images are. */

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const PAGE = readFileSync(join(ROOT, "docs/kubernetes.md"), "utf8");
const NAMESPACES = ["longwick", "longwick-sessions"];
/** Images were built before, and small drivers are for small nodes. */
const SMALL = `
kubernetesImagePullPolicy = "IfNotPresent"
[sparkConf]
spark.kubernetes.driver.request.cores = "100m"
spark.kubernetes.executor.request.cores = "100m"
spark.executor.instances = "1"
`;

const section = (title: string): string => {
  const [, text] = PAGE.split(`\n## ${title}\n`);
  return (text ?? "").split("\n## ")[0] ?? "";
};
const blocks = (text: string): readonly string[] => [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, code = ""]) => code);

const adapted = (code: string, port = 0): string => {
  const [name = "", tag = ""] = SERVER_IMAGE.split(/:(?=[^/]*$)/);
  return code
    .replaceAll("newName: registry.example/longwick-server, newTag: 0.1.0", `newName: "${name}", newTag: "${tag}"`)
    .replaceAll("registry.example/longwick-driver:0.1.0", DRIVER_IMAGE)
    .replaceAll("http://127.0.0.1:8998", `http://127.0.0.1:${port}`)
    .replaceAll("service/longwick 8998", "service/longwick :8998");
};

const directory = realpathSync(mkdtempSync(join(tmpdir(), "longwick-guide-")));
let ours = false;

beforeAll(async () => {
  const present = await kubectl(["get", "namespaces", ...NAMESPACES, "--ignore-not-found", "--output=name"]);
  if (present.trim() !== "") throw new Error(`the guide's namespaces are in use on this cluster: ${present}`);
  ours = true;
  cpSync(join(ROOT, "docker/kubernetes"), join(directory, "docker/kubernetes"), { recursive: true });
});
afterAll(async () => {
  if (ours) await kubectl(["delete", "namespace", ...NAMESPACES, "--ignore-not-found", "--timeout=120s"]);
  rmSync(directory, { recursive: true, force: true });
}, 150_000);

/** Runs lines of the page where the guide is followed; `$token` is the one that it made. */
const shell = (code: string, port = 0): string => {
  const keep = '[ -z "$token" ] || echo "$token" > token';
  const script = `set -euo pipefail; token=$(cat token 2>/dev/null || true)\n${adapted(code, port)}\n${keep}`;
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script], { cwd: directory, encoding: "utf8", timeout: 400_000 });
  if (status !== 0) throw new Error(`${code}\nended with ${status}: ${stderr}`);
  return stdout;
};

/** Calls `use` with a port of this machine that leads to the Service, by the guide's own line. */
const throughForward = async (use: (port: number) => void): Promise<void> => {
  const [, , , forwarding = ""] = blocks(section(GUIDE));
  const way = spawn("bash", ["-c", `exec ${adapted(forwarding).trim()}`], { cwd: directory, stdio: ["ignore", "pipe", "inherit"] });
  try {
    let said = "";
    way.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
    const port = await until("kubectl forwards the port", 30_000, () => /Forwarding from 127\.0\.0\.1:(\d+)/.exec(said)?.[1]);
    use(Number(port));
  } finally {
    way.kill("SIGKILL");
    await once(way, "exit");
  }
};
const GUIDE = "From an empty cluster to a notebook";
const READY = "kubectl -n longwick rollout status deployment/longwick --timeout=3m";

describe("docs/kubernetes.md", { timeout: 500_000 }, () => {
  test("leads from an empty cluster to an answer of Spark", async () => {
    const [build = "", overlay = "", apply = "", , ask = "", ...more] = blocks(section(GUIDE));
    expect(more).toEqual([]);
    expect(build.split("\n").filter((line) => line !== "" && !line.startsWith("docker "))).toEqual([]);
    shell(overlay);
    shell(`cat >> my-longwick/longwick.toml <<'END'${SMALL}END`);
    shell(apply);
    await throughForward((port) => {
      const answers = shell(ask, port);
      expect(answers).toContain("499999500000");
      expect(answers).toMatch(/longwick-0-\w+ .* driver +longwick-0-\w+\n/);
      expect(answers).toContain('{"msg":"deleted"}');
    });
  });

  test("changes the master key", () => {
    const [rotate = ""] = blocks(section("What is deployed"));
    shell(rotate);
    shell(READY);
    const keys = shell("kubectl -n longwick get secret longwick-master-key -o jsonpath='{.data.current} {.data.previous}'").split(" ");
    expect(new Set(keys).size).toBe(2);
  });

  test("has a server of the cluster say what it may do", () => {
    const [, inside = ""] = blocks(section("When something is wrong"));
    const said = shell(inside);
    expect(said).toContain("ok    the server may do all that it needs in namespaces longwick (claims) and longwick-sessions (drivers)");
    expect(said).not.toContain("BAD");
  });

  test("gives somebody outside their rights", () => {
    const [, bind = ""] = blocks(section("A server outside of the cluster"));
    shell(bind);
    expect(shell("kubectl auth can-i create pods --subresource=portforward -n longwick-sessions --as=ann").trim()).toBe("yes");
  });

  test("brings TLS to the server", async () => {
    const text = section("TLS, ingress and users");
    const [, component = ""] = /```yaml\n([\s\S]*?)```/.exec(text) ?? [];
    const [, options = ""] = /```toml\n(tlsCert[\s\S]*?)```/.exec(text) ?? [];
    shell("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=longwick -keyout server.key -out server.pem 2>/dev/null");
    shell(blocks(text)[0] ?? "");
    shell(`cat >> my-longwick/kustomization.yaml <<'END'\n${component}END`);
    shell(`{ echo '${options}'; grep -v allowCleartextPasswords my-longwick/longwick.toml; } > new && mv new my-longwick/longwick.toml`);
    shell(`kubectl apply -k my-longwick\n${READY}`);
    await throughForward((port) => {
      const ask = `curl -sk -H "Authorization: Bearer $token" https://127.0.0.1:${port}/sessions`;
      expect(JSON.parse(shell(ask))).toMatchObject({ total: expect.any(Number) });
    });
  });

  test("names the namespaces of another instance, with the components that each part may have", async () => {
    const overlays = [...section("Several of them in a cluster").matchAll(/^```yaml\n# team-a\/(\w+)\/[\s\S]*?^```$/gm)];
    expect(overlays.map(([, part]) => part)).toEqual(["server", "sessions"]);
    const components: Readonly<Record<string, readonly string[]>> = { server: ["uploads", "tls"], sessions: ["spark-operator"] };
    for (const [block, part = ""] of overlays) {
      shell(`mkdir -p team-a/${part} && cat > team-a/${part}/kustomization.yaml <<'END'\n${block.replaceAll(/^```.*$/gm, "")}END`);
      const named = async () => {
        const rendered = await kubectl(["kustomize", `team-a/${part}`], { cwd: directory });
        expect(rendered.match(/(namespace|metadata\.name): longwick\S*/g)).toBeNull();
        return rendered.match(/namespace: team-a\S*/g)?.length ?? 0;
      };
      const bare = await named();
      const places = components[part]?.map((name) => `../../docker/kubernetes/${name}`).join(", ");
      shell(`echo 'components: [${places}]' >> team-a/${part}/kustomization.yaml`);
      expect([bare > 0, (await named()) > bare]).toEqual([true, true]);
    }
  });

  test("removes everything again", async () => {
    shell(blocks(section("Upgrades"))[0] ?? "");
    expect(await kubectl(["get", "namespaces", ...NAMESPACES, "--ignore-not-found", "--output=name"])).toBe("");
  });
});
