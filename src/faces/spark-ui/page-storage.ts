import { Transform } from "node:stream";

/** Spark's scripts keep what is unfolded in `localStorage`, which raises in a page without an origin: they get one that forgets. */
const SCRIPT = `<script>for (const name of ["localStorage", "sessionStorage"]) {
  const kept = new Map();
  Object.defineProperty(window, name, { value: {
    getItem: (key) => kept.get(String(key)) ?? null,
    setItem: (key, value) => void kept.set(String(key), String(value)),
    removeItem: (key) => void kept.delete(String(key)),
    clear: () => kept.clear(),
    key: (index) => [...kept.keys()][index] ?? null,
    get length() { return kept.size; },
  } });
}</script>`;
/** A page whose head does not begin within so many bytes is none of Spark's. */
const HEAD_WITHIN_BYTES = 8 * 1024;

/** An HTML page in UTF-8 with the script at the beginning of its head; holds back no more than that beginning. */
export const withStorage = (): Transform => {
  let held: Buffer | null = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (held === null) return done(null, chunk);
      held = Buffer.concat([held, chunk]);
      const head = /<head\b[^>]*>/i.exec(held.toString("latin1", 0, HEAD_WITHIN_BYTES));
      if (head === null && held.length < HEAD_WITHIN_BYTES) return done();
      const at = head === null ? 0 : head.index + head[0].length;
      if (at > 0) this.push(Buffer.concat([held.subarray(0, at), Buffer.from(SCRIPT)]));
      const rest = held.subarray(at);
      held = null;
      done(null, rest);
    },
    flush(done) {
      done(null, held);
    },
  });
};
