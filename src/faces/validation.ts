import type { FastifySchemaCompiler } from "fastify";
import type { TObject, TSchema } from "typebox";
import { Compile, type Validator } from "typebox/compile";
import { Problem } from "../core/problems.ts";

type Checked = { value: unknown } | { error: Problem };

/** How much of a caller's own words goes back in a message. */
const SHOWN_CHARACTERS = 100;

/**
 * Fastify's validator for TypeBox schemas. Bodies are checked as they are; what stands in an address is text, so there a schema's
 * integers are read from it. Failures are Problems (INVALID) that name the place, with Livy's words for numbers.
 */
export const compileValidator: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) =>
  httpPart === "body" ? bodyCheck(schema) : textCheck(schema);

const bodyCheck = (schema: TSchema) => {
  const validator = Compile(schema);
  return (body: unknown): Checked =>
    validator.Check(body) ? { value: body } : { error: new Problem("INVALID", complaint(validator, body)) };
};

/** JSON Schema's types, as a reader calls them. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  object: "a JSON object",
  array: "a list",
  string: "text",
  integer: "a whole number",
  number: "a number",
  boolean: "true or false",
};

/** What is wrong, about the innermost place that is: `conf.spark.x must be text or a number`. */
const complaint = (validator: Validator, body: unknown): string => {
  const errors = validator.Errors(body).filter((error) => error.keyword !== "anyOf");
  const depth = Math.max(...errors.map((error) => error.instancePath.length));
  const inner = errors.filter((error) => error.instancePath.length === depth);
  // Of the right type but out of bounds says more than the other types that would do; that null or digits as text would, says nothing.
  const bounds = inner.flatMap(({ keyword, params, message }) => {
    if (keyword === "required" && "requiredProperties" in params) return `must have ${params.requiredProperties.join(" and ")}`;
    return keyword === "type" || keyword === "pattern" ? [] : message;
  });
  const types = inner.flatMap(({ keyword, params }) => (keyword === "type" ? (TYPE_NAMES[String(params.type)] ?? []) : []));
  const either = (words: readonly string[]): string => [...new Set(words)].join(" or ");
  const told = either(bounds) || (types.length > 0 ? `must be ${either(types)}` : "is not well-formed");
  return `${placeOf(inner[0]?.instancePath ?? "")} ${told}.`;
};

/** A JSON pointer as a reader would write it. */
const placeOf = (pointer: string): string => {
  if (pointer === "") return "The body";
  const place = pointer.slice(1).replaceAll("/", ".").replaceAll("~1", "/").replaceAll("~0", "~");
  return place.length > SHOWN_CHARACTERS ? `${place.slice(0, SHOWN_CHARACTERS)}…` : place;
};

const isObject = (schema: TSchema): schema is TObject => "properties" in schema;
const isInteger = (schema: TSchema): boolean => "type" in schema && schema.type === "integer";

const textCheck = (schema: TSchema) => {
  const names = isObject(schema) ? Object.entries(schema.properties).map(([name, part]) => ({ name, integer: isInteger(part) })) : [];
  // Fastify gives a record of text, with a list where a name came twice.
  return (texts: Readonly<Record<string, string | readonly string[] | undefined>>): Checked => {
    const value: Record<string, unknown> = {};
    for (const { name, integer } of names) {
      const given = texts[name];
      const text = typeof given === "object" ? given[0] : given;
      if (text === undefined) continue;
      const read = integer ? readInt32(text) : text;
      if (read === null) return { error: badNumber(text) };
      value[name] = read;
    }
    return { value };
  };
};

/** A 32-bit integer as Java reads it; null when the text is none. */
export const readInt32 = (text: string): number | null => {
  const value = /^[+-]?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31 ? value : null;
};

/** What Livy says to a number that is none. */
export const badNumber = (text: string): Problem =>
  new Problem("INVALID", `For input string: "${text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text}"`);
