/**
 * Rows as COPY … TO STDOUT (FORMAT text) writes them: one line a row, columns between tabs, \N for null, backslash
 * escapes for what would break a line. Pure.
 */

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

/** The columns of one line, which is given without its newline. */
export function parseCopyLine(line: string): (string | null)[] {
  const fields: (string | null)[] = line.split('\t');
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i] as string;
    if (field === '\\N') fields[i] = null;
    else if (field.includes('\\')) fields[i] = unescapeField(field);
  }
  return fields;
}

function unescapeField(field: string): string {
  return field.replace(/\\(.)/gs, (_, char: string) => ESCAPES[char] ?? char);
}

/** Cuts a stream of bytes into lines. A line that is not finished waits for the next bytes. */
export class LineSplitter {
  #rest: Buffer = Buffer.alloc(0);

  /** The bytes after the last newline. */
  get unfinishedBytes(): number {
    return this.#rest.length;
  }

  /** The lines that end in these bytes, without their newlines. */
  push(bytes: Buffer): string[] {
    return this.pushBytes(bytes).map((line) => line.toString('utf8'));
  }

  /** The same lines as bytes; they share memory with what was pushed. */
  pushBytes(bytes: Buffer): Buffer[] {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const lines: Buffer[] = [];
    let start = 0;
    for (let end = all.indexOf(0x0a); end >= 0; end = all.indexOf(0x0a, start)) {
      lines.push(all.subarray(start, end));
      start = end + 1;
    }
    this.#rest = all.subarray(start);
    return lines;
  }
}
