import { createHash, timingSafeEqual } from "node:crypto";
import { compare } from "bcryptjs";

/** User → password hash, as in Apache's password files. */
export type Htpasswd = ReadonlyMap<string, string>;

const BCRYPT = /^\$2[aby]\$\d\d\$[./\w]{53}$/;
const APR1 = /^\$apr1\$([^$]{0,8})\$([./\w]{22})$/;
const SHA1 = /^\{SHA\}([+/\w]{27}=)$/;

/** What an unknown user's password is compared with, so that an answer's time does not tell who exists. */
const NOBODY = "$2b$10$qc5SUxxXnrg2qpsvK7m0O.4Z1KqMo4rZbfVGFmqzIK0HMYvRZKXl2";

/** Reads a password file. Lines whose hash nobody can check (plain text, crypt) are left out; `onFault` hears of each. */
export const parseHtpasswd = (text: string, onFault: (message: string) => void): Htpasswd => {
  const users = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, user, hash] = /^([^:]+):([^:\s]+)/.exec(line) ?? [];
    if (user !== undefined && hash !== undefined && [BCRYPT, APR1, SHA1].some((form) => form.test(hash))) users.set(user, hash);
    else onFault(`line ${index + 1} is left out: a user needs a hash made by \`htpasswd -B\` (bcrypt), \`-m\` (apr1) or \`-s\` (SHA)`);
  }
  return users;
};

/** Whether this is the user's password. Takes as long for a user who does not exist. */
export const checkPassword = async (users: Htpasswd, user: string, password: string): Promise<boolean> => {
  const hash = users.get(user);
  if (hash === undefined) {
    await compare(password, NOBODY);
    return false;
  }
  if (BCRYPT.test(hash)) return compare(password, hash);
  const salt = APR1.exec(hash)?.[1];
  return same(hash, salt === undefined ? `{SHA}${createHash("sha1").update(password).digest("base64")}` : apr1(password, salt));
};

const same = (a: string, b: string): boolean => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

/** Apache's variant of MD5-crypt (apr_md5.c): a thousand rounds of MD5 over password, salt and itself. */
const apr1 = (password: string, salt: string): string => {
  const md5 = (...parts: (string | Uint8Array)[]): Buffer => {
    const hash = createHash("md5");
    for (const part of parts) hash.update(part);
    return hash.digest();
  };
  const bytes = Buffer.from(password);
  const mixed = md5(bytes, salt, bytes);
  const parts: (string | Uint8Array)[] = [bytes, "$apr1$", salt];
  for (let left = bytes.length; left > 0; left -= 16) parts.push(mixed.subarray(0, Math.min(16, left)));
  for (let bits = bytes.length; bits > 0; bits >>= 1) parts.push(bits & 1 ? "\0" : bytes.subarray(0, 1));
  let digest = md5(...parts);
  for (let round = 0; round < 1_000; round += 1) {
    const odd = round % 2 === 1;
    digest = md5(odd ? bytes : digest, round % 3 === 0 ? "" : salt, round % 7 === 0 ? "" : bytes, odd ? digest : bytes);
  }
  return `$apr1$${salt}$${APR1_ORDER.map((group) => base64(digest, group)).join("")}`;
};

/** Which bytes of the digest make each group of characters. */
const APR1_ORDER: readonly (readonly number[])[] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5], [11]];
const APR1_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** crypt's base 64: lowest six bits first. */
const base64 = (digest: Buffer, group: readonly number[]): string => {
  const value = group.reduce((sum, index) => sum * 256 + digest.readUInt8(index), 0);
  const characters = group.length === 1 ? 2 : 4;
  return Array.from({ length: characters }, (_, place) => APR1_ALPHABET.charAt((value >> (6 * place)) & 63)).join("");
};
