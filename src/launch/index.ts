import type { Launcher } from "../core/ports.ts";
import type { KubernetesSettings } from "./kubernetes/settings.ts";
import type { LocalSettings } from "./local.ts";

/** Where drivers shall come from, with what that place must be told. */
export type LauncherSettings =
  | { readonly launcher: "local"; readonly local: LocalSettings }
  | { readonly launcher: "kubernetes"; readonly kubernetes: KubernetesSettings };

/** Opens the launcher that the configuration names; only its code is loaded. Rejects when it cannot work here. */
export const openLauncher = async (settings: LauncherSettings): Promise<Launcher> => {
  switch (settings.launcher) {
    case "local": {
      const { openLocalLauncher } = await import("./local.ts");
      return openLocalLauncher(settings.local);
    }
    case "kubernetes": {
      const { openKubernetesLauncher } = await import("./kubernetes.ts");
      return openKubernetesLauncher(settings.kubernetes);
    }
  }
};
