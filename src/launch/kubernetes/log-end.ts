const NEWLINE = 0x0a;
/** So much of a log's end is read, whatever its node keeps: as much as a local driver's journal has of it. */
const LIMIT_BYTES = 16 * 1024 * 1024;
/** An empty line costs little on the node and more here. */
const LIMIT_LINES = 200_000;

export interface NumberedLines {
  /** Number of the first one. */
  readonly from: number;
  readonly lines: readonly string[];
}

/** The last lines of a text, numbered from its beginning; never holds more of it than its bound. */
export const endOfLog = async (text: AsyncIterable<Buffer>): Promise<NumberedLines> => {
  let from = 0;
  /** Whether what is held begins with a line's beginning. */
  let whole = true;
  let bytes = 0;
  const held: Buffer[] = [];
  for await (const chunk of text) {
    held.push(chunk);
    bytes += chunk.length;
    for (let [first] = held; first !== undefined && bytes - first.length >= LIMIT_BYTES; [first] = held) {
      held.shift();
      bytes -= first.length;
      from += newlinesIn(first);
      whole = first.at(-1) === NEWLINE;
    }
  }
  const end = Buffer.concat(held);
  const cut = beginOf(end, whole ? 0 : end.indexOf(NEWLINE) + 1 || end.length);
  from += newlinesIn(end.subarray(0, cut));
  const lines = end.toString("utf8", cut).replace(/\n$/, "");
  return lines === "" && cut === end.length ? { from, lines: [] } : { from, lines: lines.split("\n") };
};

/** Where the last lines begin of those from here on. */
const beginOf = (text: Buffer, least: number): number => {
  let at = text.at(-1) === NEWLINE ? text.length - 1 : text.length;
  for (let lines = 0; lines < LIMIT_LINES; lines++) {
    at = at > least ? text.lastIndexOf(NEWLINE, at - 1) : -1;
    if (at < least) return least;
  }
  return at + 1;
};

const newlinesIn = (text: Buffer): number => {
  let count = 0;
  for (let at = text.indexOf(NEWLINE); at !== -1; at = text.indexOf(NEWLINE, at + 1)) count += 1;
  return count;
};
