import { describe, expect, test } from "vitest";
import { checkPassword, parseHtpasswd } from "../../src/faces/htpasswd.ts";

const LONG = "pässwörd with blanks and more than sixteen bytes";
// Made by openssl passwd -apr1, crypt(3) and openssl sha1.
const FILE = `# comment
bcrypt:$2b$04$sEScrEmsRPOinaAYnN1.huHRpQS8/XDMGV7TMMGxNyQaypDHvYPgS
apache:$2y$04$sEScrEmsRPOinaAYnN1.huHRpQS8/XDMGV7TMMGxNyQaypDHvYPgS

sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
md5:$apr1$8sFt66rZ$eup.HOtZcQ/VrnApBM3rR/
md5short:$apr1$x$12YdXEY0/hH4rDNkmZupO0
md5long:$apr1$8sFt66rZ$2aQyd/YUnSp1.a9iJz1zU/
md5empty:$apr1$8sFt66rZ$QkOfebwJVEOpEluExHsip.\r
plain:secret
crypt:rl/uPcMhbOPzQ
no colon
`;

describe("a password file", () => {
  const faults: string[] = [];
  const users = parseHtpasswd(FILE, (message) => faults.push(message));

  test.each([
    ["bcrypt", "secret"],
    ["apache", "secret"],
    ["sha", "secret"],
    ["md5", "secret"],
    ["md5short", "secret"],
    ["md5long", LONG],
    ["md5empty", ""],
  ])("lets %s in with the right password only", async (user, password) => {
    expect(await checkPassword(users, user, password)).toBe(true);
    expect(await checkPassword(users, user, `${password}x`)).toBe(false);
    expect(await checkPassword(users, user, users.get(user) ?? "")).toBe(false);
  });

  test("lets nobody in by a password in plain text or a hash that is no longer safe, and says which lines", async () => {
    expect(await checkPassword(users, "plain", "secret")).toBe(false);
    expect(await checkPassword(users, "nobody", "secret")).toBe(false);
    expect(faults.map((message) => message.replace(/ is left out.*/, ""))).toEqual(["line 10", "line 11", "line 12"]);
  });
});
