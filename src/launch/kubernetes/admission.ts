import { type Claim, type LaunchPlan, PLANNED, type SessionDraft } from "../../core/ports.ts";
import { Problem } from "../../core/problems.ts";
import { redactSpec } from "../../core/redaction.ts";
import type { Conf, SessionSpec } from "../../core/spec.ts";
import { describe } from "../files.ts";
import { admittedSpec } from "../spark.ts";
import { planDriver, shownPlan } from "./driver.ts";
import { type AllowRule, checkPolicy, checkPossible, type SessionTemplate } from "./policy.ts";
import type { PodSettings } from "./settings.ts";
import { isSparkApplication, planApplication, shownApplication } from "./spark-application.ts";
import { containerKey, isInline, readTemplate, type TemplateRole, templateKey } from "./template.ts";
import { checkTemplateLimits } from "./template-limits.ts";
import { fetchTemplate } from "./template-source.ts";
import { readYaml } from "./yaml.ts";

/** What a claim keeps of a draft, and what would be made of it. */
export interface Admitted {
  /** Conf canonical, templates inline. */
  readonly spec: SessionSpec;
  readonly plan: LaunchPlan;
}

/**
 * Whether a session may be made as asked; templates that are elsewhere are fetched.
 * @throws Problem SPEC_REFUSED
 */
export const admit = async (draft: SessionDraft, settings: PodSettings, signal: AbortSignal): Promise<Admitted> => {
  const asked = carried(admittedSpec(draft.spec, settings.spark), settings);
  const templates = await templatesOf(asked.conf, settings.allow, signal);
  checkPolicy(asked.conf, templates, settings.allow);
  checkPossible(asked.preset?.conf ?? {});
  const inline = Object.fromEntries(templates.map(({ key, pod }) => [key, JSON.stringify(pod)]));
  const spec = { ...asked, conf: { ...asked.conf, ...inline } };
  checkTemplateLimits(spec, settings);
  const claim: Claim = {
    ...PLANNED,
    owner: draft.owner,
    spec: redactSpec(spec),
    createdMs: 0,
    notes: draft.notes,
    attempts: [],
    end: null,
  };
  const plan = isSparkApplication(spec)
    ? shownApplication(planApplication({ claim, spec, settings }))
    : shownPlan(planDriver({ claim, spec, settings }));
  return { spec, plan };
};

/** What carries a batch is written into its claim: it stays what it is, whatever the configuration says by then. */
const carried = (spec: SessionSpec, { batches }: PodSettings): SessionSpec => {
  const { application } = spec;
  return application === undefined || batches === "driver" ? spec : { ...spec, application: { ...application, carrier: batches } };
};

const refuse = (key: string, why: string): Problem => new Problem("SPEC_REFUSED", `Rejected, Reason: ${key}: ${why}`);

/** @throws Problem SPEC_REFUSED */
const templatesOf = (conf: Conf, allow: readonly AllowRule[], signal: AbortSignal): Promise<readonly SessionTemplate[]> => {
  const asked = (["driver", "executor"] as const).flatMap((role) => {
    const value = conf[templateKey(role)];
    if (value !== undefined) return [{ role, value }];
    if (conf[containerKey(role)] !== undefined) throw refuse(containerKey(role), "there is no template of the session's own");
    return [];
  });
  return Promise.all(asked.map(({ role, value }) => templateOf(role, value, { conf, allow }, signal)));
};

const templateOf = async (
  role: TemplateRole,
  value: string,
  { conf, allow }: { readonly conf: Conf; readonly allow: readonly AllowRule[] },
  signal: AbortSignal,
): Promise<SessionTemplate> => {
  const key = templateKey(role);
  const source = isInline(value) ? "inline" : value;
  // Nothing is fetched that a rule does not allow.
  checkPolicy({}, [{ key, source, pod: {} }], allow);
  try {
    const text = source === "inline" ? value : await fetchTemplate(value, signal);
    return { key, source, pod: readTemplate(text, role, conf, readYaml) };
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw refuse(key, describe(error));
  }
};
