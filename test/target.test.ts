import { expect, test } from "vitest";
import { targetOf } from "../src/target.ts";

const basic = (text: string): string => `Basic ${Buffer.from(text).toString("base64")}`;

test.for([
  ["http://h:8998", null, "http://h:8998", null],
  ["http://h:8998/", null, "http://h:8998", null],
  ["https://h/spark/", null, "https://h/spark", null],
  ["http://ann:s%40cret@h", null, "http://h", basic("ann:s@cret")],
  ["http://h", "t0ken", "http://h", "Bearer t0ken"],
  ["http://ann:secret@h", "t0ken", "http://h", "Bearer t0ken"],
] as const)("%s with token %s is %s with %s", ([text, token, url, authorization]) => {
  expect(targetOf(text, token)).toEqual({ url, authorization });
});

test.for(["h:8998", "ftp://h", "", "/sessions"])("%j is no address of a server", (text) => {
  expect(() => targetOf(text, null)).toThrow("is no http or https URL");
});
