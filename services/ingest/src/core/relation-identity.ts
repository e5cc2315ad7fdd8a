/**
 * Whether the rows of a relation, as the stream describes it, still tell which row an update or a delete is about.
 *
 * An ALTER TABLE of the primary key or of the replica identity changes what old rows tell from the next row on, and which
 * rows are told apart at all. Nothing that comes by such a relation can be folded on top of what came before: the route
 * ends there, and begins anew as soon as the table is in order (core/preflight.ts says what would put it there). Pure.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Relation } from './pgoutput/messages.ts';
import { isMutable, type Route } from './route.ts';
import { identityName } from './row-shape.ts';
import { tableName } from './sql.ts';

/** Rows of a route came that do not tell which row they are about: the route ends, and begins anew. */
export class IdentityBroken extends FreshetError {
  readonly route: number;

  constructor(route: Route, relation: Relation, why: string) {
    const name = tableName(relation.schema, relation.table);
    super('CONTRACT_BROKEN', `${name} does not tell any more which row an UPDATE or DELETE is about: ${why}`, {
      remedy:
        'Nothing, if the table is in order again: it is read anew, as a new generation. Else what is wrong is told.',
      place: name,
    });
    this.route = route.number;
  }
}

/** Throws IdentityBroken. `columns`: for each of the contract's columns, its index among the relation's. */
export function checkIdentity(route: Route, relation: Relation, columns: readonly number[]): void {
  if (!isMutable(route) || relation.replicaIdentity === 'f') return;
  const told = relation.columns.flatMap(({ name, identity }) => (identity ? [name] : []));
  const names = route.identityColumns.map((column) => relation.columns[columns[column] ?? -1]?.name ?? '');
  if (!route.identityUnique) {
    throw new IdentityBroken(route, relation, `old rows do not tell all columns, but (${told.join(', ')}) only`);
  }
  if (told.length !== names.length || !names.every((name) => told.includes(name))) {
    const [now, was] = [
      identityName({ unique: true, identity: told }),
      identityName({ unique: true, identity: names }),
    ];
    throw new IdentityBroken(route, relation, `rows are told apart by ${now}, and were by ${was}`);
  }
  const untold = route.keyColumns
    .map((column) => relation.columns[columns[column] ?? -1])
    .find((column) => column?.identity !== true);
  if (untold === undefined) return;
  throw new IdentityBroken(route, relation, `old rows do not tell ${untold.name}, by which their entity is keyed`);
}

/** Whether an old row tells the truth about a column of its relation: the others are null in it, whatever they were. */
export function isTold(relation: Relation, old: { readonly whole: boolean }, column: number): boolean {
  return old.whole || relation.columns[column]?.identity === true;
}
