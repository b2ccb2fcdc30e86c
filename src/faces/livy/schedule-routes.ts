import type { FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import { checkCron, nextDueMs } from "../../core/cron.ts";
import { type AuditEvent, publishAudit } from "../../core/events.ts";
import { Problem } from "../../core/problems.ts";
import { Run, type Schedule, type Timing, Timing as TimingSchema } from "../../core/schedule.ts";
import { type App, answers, type Room } from "./room.ts";
import { CreateBatch, Message, RESOURCES_LIMIT_BYTES } from "./schemas.ts";

const tags = ["schedules"];
const text = Type.Union([Type.String(), Type.Null()]);
const asked = <Field extends keyof Timing>(field: Field) =>
  Type.Optional(Type.Union([TimingSchema.properties[field], Type.Null()], { description: HELP[field] }));

const HELP: Readonly<Record<keyof Timing, string>> = {
  schedule: "Five cron fields, or `@daily` and its like.",
  timeZone: "A name of the tz database, `Etc/UTC` unless said.",
  concurrencyPolicy:
    "When a run is due while another one runs: `Allow`, the default, begins it, `Forbid` does not, `Replace` ends the other.",
  startingDeadlineSeconds: "A run that could not begin so long after it was due is left out; null, the default: it begins late.",
  suspend: "`true`: no runs begin.",
  successfulJobsHistoryLimit: "Runs kept that ended well, 3 unless said.",
  failedJobsHistoryLimit: "Runs kept that did not, 1 unless said.",
};
const FIELDS = {
  schedule: asked("schedule"),
  timeZone: asked("timeZone"),
  concurrencyPolicy: asked("concurrencyPolicy"),
  startingDeadlineSeconds: asked("startingDeadlineSeconds"),
  suspend: asked("suspend"),
  successfulJobsHistoryLimit: asked("successfulJobsHistoryLimit"),
  failedJobsHistoryLimit: asked("failedJobsHistoryLimit"),
};
const DEFAULTS: Omit<Timing, "schedule"> = {
  timeZone: "Etc/UTC",
  concurrencyPolicy: "Allow",
  startingDeadlineSeconds: null,
  suspend: false,
  successfulJobsHistoryLimit: 3,
  failedJobsHistoryLimit: 1,
};

const CreateSchedule = Type.Object(
  {
    name: Type.String({ description: "Lower-case letters, digits and `-`, a letter first, at most 30; unique among schedules." }),
    ...FIELDS,
    schedule: TimingSchema.properties.schedule,
    batch: CreateBatch,
  },
  { additionalProperties: false },
);
const ChangeSchedule = Type.Object({ ...FIELDS, batch: Type.Optional(CreateBatch) }, { additionalProperties: false });
type Asked = Static<typeof ChangeSchedule>;

const RunObject = Type.Object({
  uid: Type.String({ description: "Its batch's too." }),
  dueMs: Run.properties.dueMs,
  state: Type.Enum(["waiting", "running", "success", "failed"], { description: "`waiting`: it has no batch yet." }),
  batch: Run.properties.batch,
  reason: Type.Union([Type.String(), Type.Null()], { description: "Why it ended as it did, or what keeps it from its batch or its end." }),
  endedMs: Type.Integer({ description: "0: it has not." }),
});
const ScheduleObject = Type.Object({
  name: Type.String(),
  uid: Type.String(),
  owner: text,
  proxyUser: text,
  createdMs: Type.Integer({ description: "Unix time in milliseconds, as all of these." }),
  ...TimingSchema.properties,
  lastMs: Type.Union([Type.Integer(), Type.Null()], { description: "When the last run was due that began." }),
  nextMs: Type.Union([Type.Integer(), Type.Null()], { description: "When the next one is due; null while suspended." }),
  active: Type.Integer({ description: "Runs that have not ended." }),
  batch: Type.Record(Type.String(), Type.Unknown(), { description: "The request, without values of secret conf keys." }),
});
const ScheduleList = Type.Object({ total: Type.Integer(), schedules: Type.Array(ScheduleObject) });
const RunList = Type.Object({ total: Type.Integer(), runs: Type.Array(RunObject) });
const Params = Type.Object({ schedule: Type.String({ description: "A schedule's name or uid." }) });

/** The longest name of a CronJob is 52 characters, in which an instance's name goes before it. */
const NAME = /^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$/;

/** What Livy has not: batches that begin at their times. */
export const scheduleRoutes = (app: App, room: Room): void => {
  const { schedules } = room.options;
  const schema = { tags, params: Params };
  const shown = (schedule: Schedule): Static<typeof ScheduleObject> => {
    const { name, uid, owner, proxyUser, createdMs, timing, lastMs, request } = schedule;
    const active = schedules.runsOf(schedule).filter(({ end }) => end === null).length;
    return { ...{ name, uid, owner, proxyUser, createdMs }, ...timing, lastMs, nextMs: nextMs(timing), active, batch: request };
  };
  const audit = ({ caller }: FastifyRequest, action: AuditEvent["action"], { name, proxyUser }: Schedule): void => {
    const who = { user: caller.name, remote: caller.remote, proxyUser };
    publishAudit({ action, ...who, session: null, statement: null, schedule: name, problem: null });
  };
  type Asking = FastifyRequest<{ Params: Static<typeof Params> }>;
  const find = async (request: Asking, right: "view" | "modify"): Promise<Schedule> => {
    const { schedule } = request.params;
    await schedules.seek(schedule, request.signal);
    return schedules.find(schedule, request.caller, right);
  };

  app.get(
    "/schedules",
    { schema: { tags, summary: "List the schedules you may see", response: answers({ 200: ScheduleList }) } },
    ({ caller }) => {
      const all = schedules.list(caller).map(shown);
      return { total: all.length, schedules: all };
    },
  );

  app.post(
    "/schedules",
    {
      schema: {
        ...{ tags, summary: "Run a batch at its times", body: CreateSchedule, response: answers({ 201: ScheduleObject }) },
        description: "`batch` is the body of `POST /batches`. Runs have the rights that their owner has when they begin.",
      },
      bodyLimit: RESOURCES_LIMIT_BYTES,
    },
    async (request, reply) => {
      const { body, caller, signal } = request;
      const { name, batch } = body;
      if (!NAME.test(name))
        throw new Problem("INVALID", "name must be lower-case letters, digits and '-', with a letter first and at most 30 characters.");
      const timing = { ...DEFAULTS, schedule: body.schedule, ...readTiming(body) };
      checkCron(timing.schedule, timing.timeZone);
      const schedule = await schedules.create({ name, timing, request: batch }, caller, signal);
      audit(request, "schedule", schedule);
      reply.code(201).header("location", `${request.mount}/schedules/${name}`);
      return shown(schedule);
    },
  );

  app.get(
    "/schedules/:schedule",
    { schema: { ...schema, summary: "One schedule", response: answers({ 200: ScheduleObject }) } },
    async (request) => shown(await find(request, "view")),
  );

  app.patch(
    "/schedules/:schedule",
    {
      schema: {
        ...{ ...schema, summary: "Suspend or change a schedule", body: ChangeSchedule, response: answers({ 200: ScheduleObject }) },
        description: "What is not named stays. A `batch` stands in place of the one before; runs that have begun are not touched.",
      },
      bodyLimit: RESOURCES_LIMIT_BYTES,
    },
    async (request) => {
      const { body, caller, signal } = request;
      const schedule = await find(request, "modify");
      const timing = readTiming(body);
      // One that a hand has written for Kubernetes alone can be suspended as it is.
      if (timing.schedule !== undefined || timing.timeZone !== undefined)
        checkCron(timing.schedule ?? schedule.timing.schedule, timing.timeZone ?? schedule.timing.timeZone);
      const change = { timing, ...(body.batch === undefined ? {} : { request: body.batch }) };
      const changed = await schedules.change(schedule, change, caller, signal);
      audit(request, "change-schedule", changed);
      return shown(changed);
    },
  );

  app.delete(
    "/schedules/:schedule",
    {
      schema: {
        ...{ ...schema, summary: "Remove a schedule and end its runs", response: answers({ 200: Message }) },
        description: "To let one that runs go on to its end, suspend the schedule instead, and remove it afterwards.",
      },
    },
    async (request) => {
      const schedule = await find(request, "modify");
      audit(request, "delete-schedule", schedule);
      await schedules.delete(schedule, request.signal);
      return { msg: "deleted" };
    },
  );

  app.get(
    "/schedules/:schedule/runs",
    { schema: { ...schema, summary: "A schedule's runs, oldest first", response: answers({ 200: RunList }) } },
    async (request) => {
      const runs = schedules.runsOf(await find(request, "view")).map((run) => runObject(run, schedules.trouble(run)));
      return { total: runs.length, runs };
    },
  );
};

/** What was said of it; null is what was not said, but for the one field that knows it. */
const readTiming = (body: Asked): Partial<Timing> =>
  Object.fromEntries(
    Object.keys(FIELDS).flatMap((field) => {
      const value = (body as Readonly<Record<string, unknown>>)[field];
      return value === undefined || (value === null && field !== "startingDeadlineSeconds") ? [] : [[field, value]];
    }),
  );

const nextMs = ({ suspend, schedule, timeZone }: Timing): number | null => {
  try {
    return suspend ? null : nextDueMs(schedule, timeZone, Date.now());
  } catch {
    // A hand has written into the CronJob what only Kubernetes can read.
    return null;
  }
};

const runObject = ({ uid, dueMs, batch, end }: Run, trouble: string | null): Static<typeof RunObject> => ({
  ...{ uid, dueMs, batch },
  state: end?.state ?? (batch === null ? "waiting" : "running"),
  reason: end?.reason ?? trouble,
  endedMs: end?.endedMs ?? 0,
});
