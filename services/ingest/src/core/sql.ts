/** Names and texts as SQL writes them, for statements that cannot take parameters and for remedies that people paste. Pure. */

/** "my table" in double quotes. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** schema.table, each quoted only if it must be, for people. */
export function tableName(schema: string, table: string): string {
  return [schema, table].map((name) => (/^[a-z_][a-z0-9_$]*$/.test(name) ? name : quoteIdentifier(name))).join('.');
}

/** 'a text' whatever standard_conforming_strings says. */
export function quoteLiteral(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`;
  return quoted.includes('\\') ? `E${quoted.replaceAll('\\', '\\\\')}` : quoted;
}
