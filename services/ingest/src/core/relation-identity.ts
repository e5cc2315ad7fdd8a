/**
 * Whether the rows of a relation, as the stream describes it, still tell which row an update or a delete is about.
 *
 * An ALTER TABLE of the primary key or of the replica identity changes what old rows tell from the next row on, and which
 * rows are told apart at all. Nothing that comes by such a relation can be folded on top of what came before: its table is held,
 * as of any other change that breaks. Definitions that know the new key read it anew; and so does a table that is as it was
 * again, as of what came meanwhile nobody can tell which rows it is about (io/key-look.ts). Pure.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Relation } from './pgoutput/messages.ts';
import { isMutable, type Route } from './route.ts';
import type { StreamRow } from './route-change.ts';
import { identityName } from './row-shape.ts';

/** A table tells its rows apart again as its route does, and rows that are held of it do not: the route ends, and begins anew. */
export class IdentityRestored extends FreshetError {
  readonly route: number;

  constructor(route: number, table: string) {
    super('CONTRACT_BROKEN', `rows of ${table} did not tell for a while which row an UPDATE or DELETE is about`, {
      remedy: 'Nothing: the table is in order again, and is read anew, as a new generation.',
      place: table,
    });
    this.route = route;
  }
}

/**
 * Why rows of the relation do not tell which row they are about, in a sentence; undefined: they do. `columns`: for each of the
 * contract's columns, its index among the relation's.
 */
export function identityProblem(route: Route, relation: Relation, columns: readonly number[]): string | undefined {
  if (!isMutable(route) || relation.replicaIdentity === 'f') return undefined;
  const told = relation.columns.flatMap(({ name, identity }) => (identity ? [name] : []));
  const names = route.identityColumns.map((column) => relation.columns[columns[column] ?? -1]?.name ?? '');
  if (!route.identityUnique) {
    return `old rows do not tell all columns, but (${told.join(', ')}) only`;
  }
  if (told.length !== names.length || !names.every((name) => told.includes(name))) {
    const [now, was] = [
      identityName({ unique: true, identity: told }),
      identityName({ unique: true, identity: names }),
    ];
    return `rows are told apart by ${now}, and were by ${was}`;
  }
  const untold = route.keyColumns
    .map((column) => relation.columns[columns[column] ?? -1])
    .find((column) => column?.identity !== true);
  return untold && `old rows do not tell ${untold.name}, by which their entity is keyed`;
}

/**
 * Why a row does not tell which row it is about although its relation says that it does, in a sentence; undefined: it does. Seen
 * row by row, whatever came before: a column that tells rows apart is never null. `columns`: as identityProblem has them.
 */
export function untoldRow(
  route: Route,
  { relation, operation, row, old }: StreamRow,
  columns: readonly number[],
): string | undefined {
  if (!isMutable(route) || operation === Operation.INSERT) return undefined;
  const less =
    'the partition that it is in tells less of old rows than its table: ALTER TABLE … REPLICA IDENTITY FULL;';
  if (relation.replicaIdentity === 'f' && operation === Operation.UPDATE && old?.whole !== true) {
    return `an UPDATE came without its old row; ${less}`;
  }
  const before = operation === Operation.DELETE ? row : old?.values;
  if (before === undefined || !route.identityUnique) return undefined;
  const untold = route.identityColumns.map((column) => columns[column] ?? -1).find((index) => before[index] === null);
  if (untold === undefined) return undefined;
  return `an old row came without ${relation.columns[untold]?.name ?? ''}, by which rows are told apart; ${less}`;
}

/** Whether an old row tells the truth about a column of its relation: the others are null in it, whatever they were. */
export function isTold(relation: Relation, old: { readonly whole: boolean }, column: number): boolean {
  return old.whole || relation.columns[column]?.identity === true;
}
