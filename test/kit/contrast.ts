import type { Locator } from "playwright-core";

/** Of a text to what is behind it, as WCAG 2 counts it: from 1, unreadable, to 21; it asks for 4.5. */
export const contrastOf = (text: Locator): Promise<number> => text.evaluate(measure);

interface Styled {
  readonly parentElement: Styled | null;
}
/** The page's own. */
declare const getComputedStyle: (node: Styled) => { readonly color: string; readonly backgroundColor: string };

/** Runs in the page: uses nothing of this file. */
const measure = (node: Styled): number => {
  type Color = readonly number[];
  const read = (color: string): Color => (color.match(/[\d.]+/g) ?? []).map(Number);
  const over = ([r = 0, g = 0, b = 0, a = 1]: Color, below: Color): Color =>
    [r, g, b].map((value, index) => value * a + (below[index] ?? 0) * (1 - a));
  const light = (color: Color): number =>
    color
      .map((value) => value / 255)
      .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
      .reduce((sum, value, index) => sum + value * ([0.2126, 0.7152, 0.0722][index] ?? 0), 0);
  const behind: Color[] = [];
  for (let at: Styled | null = node; at !== null; at = at.parentElement) behind.unshift(read(getComputedStyle(at).backgroundColor));
  const ground = behind.reduce((below, color) => over(color, below), [255, 255, 255]);
  const [dark = 0, bright = 0] = [light(ground), light(over(read(getComputedStyle(node).color), ground))].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
};
