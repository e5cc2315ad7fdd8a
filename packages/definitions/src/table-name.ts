/** Names of tables as SQL writes them. */

export interface TableName {
  readonly schema: string;
  readonly table: string;
}

/** Postgres truncates longer names, so a longer one is never that of a table. In bytes. */
const NAME_BYTES_MAX = 63;

const PART = String.raw`(?:(?:[A-Za-z_]|[^\x00-\x7f])(?:[A-Za-z0-9_$]|[^\x00-\x7f])*|"(?:[^"\x00]|"")+")`;
/** A name without spaces around it. It means the same with the flag u and without. */
export const TABLE_NAME_PATTERN: RegExp = new RegExp(`^(?:(${PART})\\.)?(${PART})$`);

/** The schema ("public" unless named) and table; unquoted names are folded to lower case as Postgres does. */
export function parseTableName(text: string): TableName | undefined {
  const match = TABLE_NAME_PATTERN.exec(text.trim());
  if (match === null) return undefined;
  const schema = match[1] === undefined ? 'public' : unquote(match[1]);
  const table = unquote(match[2] ?? '');
  const tooLong = [schema, table].some((name) => new TextEncoder().encode(name).length > NAME_BYTES_MAX);
  return tooLong ? undefined : { schema, table };
}

function unquote(part: string): string {
  if (!part.startsWith('"')) return part.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  return part.slice(1, -1).replaceAll('""', '"');
}

/** The name as SQL, quoted where it must be: `public.orders`, `public."My Table"`. */
export function formatTableName(name: TableName): string {
  return `${quote(name.schema)}.${quote(name.table)}`;
}

function quote(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}
