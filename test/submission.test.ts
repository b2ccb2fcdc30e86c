import { expect, test } from "vitest";
import { readSubmission } from "../src/submission.ts";

test("what comes after the file are the application's arguments, flags too", () => {
  const asked = readSubmission(["--wait", "--jars", "a.jar,b.jar", "--jars=c.jar", "app.py", "--name", "x", "--", "-h"]);
  expect(asked).toEqual({
    ...{ url: null, token: null, idempotencyKey: null, wait: true, follow: false, kill: false, rest: [] },
    body: { file: "app.py", args: ["--name", "x", "--", "-h"], jars: ["a.jar", "b.jar", "c.jar"] },
  });
  expect(readSubmission(["--follow", "--", "-odd.py", "1"])).toMatchObject({
    wait: true,
    follow: true,
    body: { file: "-odd.py", args: ["1"] },
  });
});

test("arguments may come as one JSON list, none of them too", () => {
  const argsOf = (...words: readonly string[]) => readSubmission([...words, "app.py"])?.body.args;
  expect(argsOf("--args-json", '["2026-11-21", "a b", 3]')).toEqual(["2026-11-21", "a b", "3"]);
  expect(argsOf("--args-json=[]")).toEqual([]);
  expect(readSubmission(["--args-json", '["a"]', "app.py", "b"])?.body.args).toEqual(["a", "b"]);
});

test("every field of a batch has its flag, and the server's own flags are passed on", () => {
  const words = "--class a.B --conf k=a=b --conf l= --num-executors 2 --proxy-user bob --retry 3 --retry-on driver-lost,non-zero-exit";
  const asked = readSubmission([...words.split(" "), "--launcher", "kubernetes", "--idempotency-key", "k", "app.jar"]);
  expect(asked).toMatchObject({ idempotencyKey: "k", rest: ["--launcher=kubernetes"] });
  expect(asked?.body).toEqual({
    ...{ file: "app.jar", args: [], className: "a.B", conf: { k: "a=b", l: "" }, numExecutors: 2, proxyUser: "bob" },
    retry: { maxAttempts: 3, on: ["driver-lost", "non-zero-exit"] },
  });
});

test("what cannot be meant is refused", () => {
  for (const [words, message] of [
    [[], "takes a FILE"],
    [["--wait"], "takes a FILE"],
    [["--name"], "--name needs a value"],
    [["--wait=no", "a.py"], "--wait takes no value"],
    [["--num-executors", "two", "a.py"], "--num-executors takes a whole number, not two"],
    [["--conf", "novalue", "a.py"], "--conf takes KEY=VALUE"],
    [["--args-json", "2026-11-21", "a.py"], "--args-json takes a JSON list"],
    [["--args-json", '[{"a": 1}]', "a.py"], "--args-json takes a JSON list"],
  ] as const)
    expect(() => readSubmission(words)).toThrow(message);
  expect(readSubmission(["--help"])).toBeNull();
});
