import type { Duplex } from "node:stream";
import type { FastifyBaseLogger } from "fastify";
import { type Config, refuseSharedUser } from "./config.ts";
import { Access } from "./core/access.ts";
import { Presets } from "./core/presets.ts";
import { Schedules } from "./core/schedules.ts";
import { Sessions } from "./core/sessions.ts";
import { Uploads } from "./core/uploads.ts";
import { Auth } from "./faces/auth.ts";
import { Certificate } from "./faces/certificate.ts";
import { createHttp } from "./faces/http.ts";
import { jupyterFace } from "./faces/jupyter/routes.ts";
import { readKeptRequest } from "./faces/livy/batch-draft.ts";
import { livyFace } from "./faces/livy/routes.ts";
import type { SpecRules } from "./faces/livy/spec.ts";
import { historyUrl } from "./history.ts";
import { openLauncher } from "./launch/index.ts";
import { launcherSettings } from "./launcher-settings.ts";
import { openLink } from "./link/link.ts";
import { logEvents } from "./observe/events.ts";
import type { Prepared } from "./prepare.ts";
import { readPresets, tryPresets } from "./presets.ts";
import { uploadPlace } from "./upload-place.ts";
import { openUploadStore } from "./uploads/index.ts";

/** Answers of this size on are compressed for other machines that ask. */
const GZIP_FROM_BYTES = 16 * 1024;
/** What drivers can run. */
const KINDS = ["pyspark", "sql"] as const;
/** How long an answer may wait for a driver that cannot be reached now. */
const ANSWER_MS = 60_000;
/** A request that carries no code needs no more. */
const SMALL_BODY_BYTES = 1024 * 1024;

export interface Server {
  /** Where it listens, base path included. */
  readonly url: string;
  /** Sessions and batches that were there at the start or are there now and have not ended. */
  readonly living: () => number;
  /** A connection to it from inside of this process. */
  readonly dial: () => Duplex;
  /**
   * Refuses what is new, gives answers under way their time (`drainMs`) and lets go of the sessions: they go on without the server.
   * Idempotent.
   */
  close(): Promise<void>;
  /** Ends every session, then closes: for a server that nobody comes back to. */
  end(): Promise<void>;
}

/** `prepared`: what local drivers run on; null when none are. Builds every part from the configuration, takes over the sessions that run and listens. Whatever was opened is closed if a part fails. */
export const openServer = async (config: Config, prepared: Prepared | null, version: string, log: FastifyBaseLogger): Promise<Server> => {
  const opened: (() => Promise<void> | void)[] = [logEvents(log)];
  const closeAll = async () => {
    for (const close of opened.splice(0).reverse()) await close();
  };
  try {
    const access = new Access(config);
    const auth = await Auth.open({
      htpasswdFile: config.htpasswd,
      tokensFile: config.tokens,
      access,
      checkUsers: (users) => refuseSharedUser(config, users),
      onFault: (message) => log.warn({ fault: message }, "auth"),
    });

    const clock = { now: Date.now };
    const place = uploadPlace(config);
    const uploads: Uploads | null =
      place === null
        ? null
        : new Uploads({
            store: await openUploadStore(place),
            access,
            rules: {
              limitBytes: config.uploadLimitBytes,
              quotaBytes: config.uploadQuotaBytes,
              quotaFiles: config.uploadQuotaFiles,
              retentionMs: config.uploadRetentionMs,
            },
            clock,
            named: () => new Set([...sessions.uploads(), ...schedules.uploads()]),
          });
    opened.push(() => uploads?.close());

    const launcher = await openLauncher(await launcherSettings(config, prepared, (id) => uploads?.pathOf(id) ?? null));
    opened.push(() => launcher.close());

    const presets = await readPresets(config, (message) => log.warn({ fault: message }, "configuration"));
    await tryPresets(presets, KINDS, launcher);

    const sessions: Sessions = new Sessions(
      { launcher, openLink, clock, startWaitMs: config.startWaitMs, stopGraceMs: config.stopGraceMs, uploads },
      access,
      config,
    );
    opened.push(() => sessions.close());
    let adopted = false;

    const chosen = new Presets(presets, config.defaultPreset, access);
    const rules = {
      kinds: KINDS,
      refusedConf: config.refusedConf,
      idleTimeoutMs: config.idleTimeoutMs,
      ttlMs: config.ttlMs,
      impersonation: config.impersonators.length > 0 || config.superusers.length > 0,
    } satisfies SpecRules;
    const paths = { driversAreHere: config.launcher === "local", localDirs: config.localPaths, uploads };

    const schedules: Schedules = new Schedules({
      ...{ launcher, sessions, access, clock, limits: config },
      read: (request, caller) => readKeptRequest(request, caller, { presets: chosen, spec: rules, paths }),
      checkOwner: (owner) => auth.checkUser(owner),
    });
    opened.push(() => schedules.close());

    const http = await createHttp({
      basePath: config.basePath,
      trustedProxies: config.trustedProxies,
      tls:
        config.tlsCert === null || config.tlsKey === null
          ? null
          : await Certificate.open({ cert: config.tlsCert, key: config.tlsKey }, (fault) => log.warn({ fault }, "tls")),
      auth,
      hostNames: config.allowedHosts,
      origins: config.allowedOrigins,
      csrfHeader: config.csrfProtection,
      gzipFromBytes: GZIP_FROM_BYTES,
      bodyLimitBytes: SMALL_BODY_BYTES,
      home: "/docs/",
      version,
      ready: () => adopted,
      log,
      faces: [
        livyFace({
          sessions,
          schedules,
          presets: chosen,
          spec: rules,
          paths,
          holdMs: config.heldGetMs,
          answerMs: ANSWER_MS,
          statementLimitBytes: config.bodyLimitBytes,
          uploadLimitBytes: config.uploadLimitBytes,
          version,
          historyUrl: (life) => historyUrl(config, life),
        }),
        jupyterFace({
          ...{ sessions, spec: rules, paths, version, basePath: config.basePath, messageLimitBytes: config.bodyLimitBytes },
          ...{ presets: chosen, launchDisplayMs: config.launchDisplayMs },
        }),
      ],
    });
    opened.push(() => http.close(config.drainMs));

    await sessions.adopt(AbortSignal.timeout(ADOPT_MS));
    await schedules.start(AbortSignal.timeout(ADOPT_MS));
    adopted = true;
    uploads?.start();
    const url = `${await http.listen(config)}${config.basePath}`;

    let closed: Promise<void> | null = null;
    const close = () => {
      sessions.drain();
      closed ??= closeAll();
      return closed;
    };
    return {
      url,
      living: () => sessions.living().length,
      dial: () => http.dial(),
      close,
      end: async () => {
        sessions.drain();
        await Promise.all(sessions.living().map((session) => sessions.delete(session, "the server ended")));
        await close();
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
};

/** Reading the runtime directory takes milliseconds; a hanging network disk must not look like a server that starts. */
const ADOPT_MS = 60_000;
