/**
 * Which statements of a DDL are tried against a real database, in a transaction that is rolled back. Owns what is refused
 * before the database sees it. What is refused only by the database: io/try-ddl.ts. Pure.
 *
 * The split into statements is for people, to be told which one failed; that nothing is committed does not depend on it.
 */
import { statementsOf } from '@freshet/contracts/ddl-tokens.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** Statements that change what the catalog says, and nothing that outlives a rollback. */
const TRIED: ReadonlySet<string> = new Set(['alter', 'comment', 'create', 'drop', 'grant', 'revoke']);
/** What goes around statements in a migration: the transaction and its limits are ours. */
const AROUND = /^(?:begin|commit|end|start transaction|(?:begin|commit|end) (?:work|transaction))$/;
const LIMITS = /^set (?:local |session )?(?:lock_timeout|statement_timeout|idle_in_transaction_session_timeout)\b/;
const SEARCH_PATH = /^set (?:local |session )?search_path\b/;

/** The statements to be tried, in order. Throws INVALID_REQUEST for one that is not tried. */
export function triedStatements(ddl: string): string[] {
  const tried: string[] = [];
  for (const { text, tokens } of statementsOf(ddl)) {
    const words = tokens.map((token) => (token.kind === 'word' ? token.text : '?')).join(' ');
    if (AROUND.test(words) || LIMITS.test(words)) continue;
    if (!TRIED.has(tokens[0]?.text ?? '') && !SEARCH_PATH.test(words))
      throw new FreshetError('INVALID_REQUEST', `this statement is not tried: ${text.slice(0, 200)}`, {
        remedy: `leave it out: what is tried begins with ${[...TRIED].map((word) => word.toUpperCase()).join(', ')}, or sets search_path`,
        place: 'ddl',
      });
    tried.push(text);
  }
  if (tried.length > 0) return tried;
  throw new FreshetError('INVALID_REQUEST', 'the DDL has no statement to try', { place: 'ddl' });
}
