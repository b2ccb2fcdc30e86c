/** Colours of a traceback, as IPython's own (ANSI, ECMA-48): front ends show them, and Python's drivers write plain text. */
const RED = "31";
const GREEN = "32";
const CYAN = "36";
const coloured = (colour: string, text: string): string => `\x1b[${colour}m${text}\x1b[39m`;

const FRAME = /^(?<margin>[ |+-]*)File (?<file>".*"), line (?<line>\d+)(?:, in (?<scope>.*))?$/;
const POINTERS = /^[ |~^]*$/;
const EXCEPTION = /^[ |]*(?<name>[^\s|:]+)(?=:|$)/;
/** What Python indents a frame by, from where its exception stands. */
const INDENT = 2;

interface Failure {
  readonly ename: string;
  readonly traceback: readonly string[];
}

/**
 * A traceback's lines without their newlines, coloured where they say what was raised and where: the exception's class red, files and lines
 * green, functions cyan. Text is left as it is.
 */
export const colouredTraceback = ({ ename, traceback }: Failure): readonly string[] => {
  /** Where the exception's class is to stand that the last frames lead to; null: there is none to come. */
  let column = traceback[0]?.startsWith(ename) === true ? 0 : null;
  return traceback.map((ended) => {
    const line = ended.replace(/\n$/, "");
    const { margin, file = "", line: number = "", scope } = FRAME.exec(line)?.groups ?? {};
    if (margin !== undefined) {
      column = margin.length - INDENT;
      const where = `${margin}File ${coloured(GREEN, file)}, line ${coloured(GREEN, number)}`;
      return scope === undefined ? where : `${where}, in ${coloured(CYAN, scope)}`;
    }
    if (/[~^]/.test(line) && POINTERS.test(line)) return line.replace(/[~^].*$/, (pointers) => coloured(RED, pointers));
    const name = column === null ? undefined : EXCEPTION.exec(line)?.groups?.["name"];
    if (name === undefined || line.indexOf(name) !== column) return line;
    const from = column;
    column = null;
    return `${line.slice(0, from)}${coloured(RED, name)}${line.slice(from + name.length)}`;
  });
};
