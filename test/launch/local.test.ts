import { LocalSite } from "../kit/local-site.ts";
import { launcherContract } from "./contract.ts";

launcherContract("local", () => LocalSite.make());
