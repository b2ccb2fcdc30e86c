import { parse, type ScalarTag } from "yaml";

const scalar = (tag: string, test: RegExp, resolve: (text: string) => unknown): ScalarTag => ({
  tag: `tag:yaml.org,2002:${tag}`,
  default: true,
  test,
  resolve,
});

const RADIX = new Map([
  ["0b", 2],
  ["0o", 8],
  ["0x", 16],
]);

const integer = (text: string): number => {
  const [, sign = "", prefix = "", digits = ""] = /^([-+]?)(0[box]|0(?=.))?(.*)$/i.exec(text.replaceAll("_", "")) ?? [];
  const radix = prefix === "0" ? 8 : (RADIX.get(prefix.toLowerCase()) ?? 10);
  return Number.parseInt(digits, radix) * (sign === "-" ? -1 : 1);
};

/** What plain words and numbers mean to sigs.k8s.io/yaml, by its resolver (go.yaml.in/yaml/v2, resolve.go). */
const SCALARS: readonly ScalarTag[] = [
  scalar("null", /^(~|null|Null|NULL)?$/, () => null),
  scalar("bool", /^([yY]|yes|Yes|YES|true|True|TRUE|on|On|ON)$/, () => true),
  scalar("bool", /^([nN]|no|No|NO|false|False|FALSE|off|Off|OFF)$/, () => false),
  scalar("int", /^[-+]?(0b[01][01_]*|0o[0-7][0-7_]*|0[0-7_]*|0x[\da-f][\da-f_]*|[1-9][\d_]*)$/i, integer),
  scalar("float", /^[-+]?(\.\d+|\d[\d_]*(\.[\d_]*)?)(e[-+]?\d+)?$/i, (text) => Number(text.replaceAll("_", ""))),
];

/**
 * A JSON value from YAML as kubectl reads it: YAML 1.1 in Go's dialect, where `0555` is octal, `yes` is true and `<<` merges, and neither
 * dates nor numbers to the base of 60 are anything but text. JSON is the same in both.
 * @throws Error that says what is wrong with it, also when its aliases stand for more than a person would have written
 */
export const readYaml = (text: string): unknown => {
  const value: unknown = parse(text, { schema: "failsafe", customTags: [...SCALARS], merge: true, logLevel: "error" });
  // What aliases stand for becomes values of their own; one that stands for itself is refused.
  return JSON.parse(JSON.stringify(value) ?? "null");
};
