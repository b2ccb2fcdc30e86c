import type { TSchema } from "typebox";
import { Value } from "typebox/value";
import { nearest } from "./nearest.ts";

/** What is wrong with a value, and where in it. */
export interface Complaint {
  /** `.small.limits`; empty: the value as a whole. */
  readonly place: string;
  readonly words: string;
}

/** The fields of a JSON Schema that are looked at here. */
interface Schema {
  readonly format?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
}

/** What of a value does not fit its schema, in a reader's words. */
export const complaintsOf = (schema: TSchema, value: unknown): readonly Complaint[] =>
  Value.Errors(schema, value).flatMap(({ keyword, instancePath, params, message }) => {
    // Each key that is too many is complained of by itself too.
    if (keyword === "additionalProperties") return [];
    const path = instancePath
      .split("/")
      .slice(1)
      .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    if (keyword === "boolean") return [unknownKey(schema, path)];
    if (keyword === "enum" && "allowedValues" in params)
      return [{ place: placeOf(path), words: `must be one of ${params.allowedValues.join(", ")}` }];
    const size = keyword === "pattern" && schemaAt(schema, path).format === "memory";
    return [{ place: placeOf(path), words: size ? "must be a size as Spark writes it, like 2g or 512m" : message }];
  });

const placeOf = (path: readonly string[]): string => path.map((part) => `.${part}`).join("");

const unknownKey = (schema: TSchema, path: readonly string[]): Complaint => {
  const key = path.at(-1) ?? "";
  const above = path.slice(0, -1);
  const { properties, patternProperties = {} } = schemaAt(schema, above);
  const place = placeOf(above);
  if (properties === undefined)
    return { place, words: `'${key}' is no name here, it must match ${Object.keys(patternProperties).join(" or ")}` };
  const guess = nearest(key, Object.keys(properties));
  const words = `unknown key ${key}.${guess === null ? ` There are ${Object.keys(properties).join(", ")}.` : ` Did you mean ${guess}?`}`;
  return { place, words };
};

const schemaAt = (schema: TSchema, path: readonly string[]): Schema =>
  path.reduce<Schema>(
    ({ properties, patternProperties }, name) => properties?.[name] ?? Object.values(patternProperties ?? {})[0] ?? {},
    // A TypeBox schema is a JSON Schema object.
    schema as Schema,
  );
