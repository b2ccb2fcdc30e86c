/** Suffixes of Kubernetes' quantities (k8s.io/apimachinery, resource.Quantity). */
const UNITS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["n", 1e-9],
  ["u", 1e-6],
  ["m", 1e-3],
  ...["k", "M", "G", "T", "P", "E"].map((unit, index): [string, number] => [unit, 1_000 ** (index + 1)]),
  ...["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].map((unit, index): [string, number] => [unit, 1_024 ** (index + 1)]),
]);

/** The number that a quantity stands for (`500m`, `2Gi`, `1e3`); NaN for what is none. */
export const quantity = (text: string): number => {
  const [, digits, unit = ""] = /^([\d.]+(?:[eE]\d+)?)(\w*)$/.exec(text) ?? [];
  return Number(digits) * (UNITS.get(unit) ?? Number.NaN);
};
