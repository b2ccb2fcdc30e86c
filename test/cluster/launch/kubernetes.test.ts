import { ClusterSite } from "../../kit/cluster.ts";
import { launcherContract } from "../../launch/contract.ts";

// The kubelet starts a container that crashed again at once, then after 10 s, then after 20 s.
launcherContract("kubernetes", () => Promise.resolve(ClusterSite.withoutSpark()), 60_000);
