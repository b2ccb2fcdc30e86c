import { type Static, type TSchemaOptions, Type } from "typebox";

/** Presets as the configuration has them: a table each. A `format` says how a value is read, as in `options.ts`. */

const text = (description: string, options: TSchemaOptions = {}) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 1_000, description, ...options }));
const path = (description: string) => text(description, { format: "path" });
const memory = (description: string) => text(description, { format: "memory", pattern: "^0*[1-9][0-9]{0,14}([kmgtpKMGTP][bB]?|[bB])?$" });
const count = (description: string) => Type.Optional(Type.Integer({ minimum: 1, description }));
const duration = (description: string) => Type.Optional(Type.Integer({ minimum: 0, format: "duration", description }));

export const PresetLimitsTable = Type.Object(
  {
    sessionsPerUser: count("Sessions of this preset that one user may have at once."),
    driverMemory: memory("The driver's heap; with overhead it may take as much as this heap would with the preset's."),
    driverCores: count("Cores of the driver, asked for in whatever way."),
    executorMemory: memory("As `driverMemory`; off-heap memory and Python's count as overhead."),
    executorCores: count("Cores of an executor, asked for in whatever way."),
    numExecutors: count("Executors, dynamically allocated ones too."),
  },
  { additionalProperties: false, description: "What its sessions may ask for at most." },
);

export const PresetTable = Type.Object(
  {
    displayName: text("What people choose it by. Default: its name."),
    description: text("What it is for."),
    users: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { description: "Who may choose it. Default: everybody." })),
    kind: Type.Optional(Type.Enum(["shared", "pyspark", "sql", "spark", "sparkr"], { description: "Kind of sessions that name none." })),
    driverMemory: memory("As in a request, like the four that follow."),
    driverCores: count("Cores of the driver."),
    executorMemory: memory("Memory of each executor."),
    executorCores: count("Cores of each executor."),
    numExecutors: count("Executors."),
    idleTimeout: duration("A session that is not used for so long ends."),
    ttl: duration("A session ends at this age."),
    image: text("Image of driver and executors. For pods only."),
    driverTemplate: path("Pod template (YAML) of the driver, over that of all drivers. For pods only."),
    executorTemplate: path("Pod template (YAML) of executors, over that of all. For pods only."),
    conf: Type.Optional(
      Type.Record(Type.String(), Type.String(), { description: "Spark settings, free of what sessions may not set.", format: "pairs" }),
    ),
    limits: Type.Optional(PresetLimitsTable),
  },
  { additionalProperties: false },
);
export type PresetTable = Static<typeof PresetTable>;

/** Names go into addresses and file names. */
export const PRESET_NAME = "^[A-Za-z0-9][-A-Za-z0-9_.]{0,62}$";

/** Those of a preset that only pods have. */
export const POD_KEYS = ["image", "driverTemplate", "executorTemplate"] as const satisfies readonly (keyof PresetTable)[];

const FORMATS: ReadonlyMap<string, string | undefined> = new Map(
  // A TypeBox schema is a JSON Schema object; the formats are those set above.
  Object.entries(PresetTable.properties).map(([key, property]) => [key, (property as { format?: string }).format]),
);

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Every preset with each value changed by its format; what is no table is left for the schema to refuse.
 * @throws Error of `change`, with the place in front
 */
export const mapPresets = (presets: unknown, change: (value: unknown, format: string | undefined) => unknown): unknown => {
  const changed = (value: unknown, name: string, key: string): unknown => {
    try {
      return change(value, FORMATS.get(key));
    } catch (error) {
      throw new Error(`${name}.${key}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  const each = (table: unknown, made: (value: unknown, key: string) => unknown): unknown =>
    isTable(table) ? Object.fromEntries(Object.entries(table).map(([key, value]) => [key, made(value, key)])) : table;
  return each(presets, (preset, name) => each(preset, (value, key) => changed(value, name, key)));
};
