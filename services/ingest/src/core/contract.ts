/**
 * Contracts from what the catalog says of a table, and whether a table as the stream describes it still keeps one. Pure.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  ChangePolicy,
  type ColumnSchema,
  type Contract,
  ContractSchema,
  ReplicaIdentity,
} from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Relation } from './pgoutput/messages.ts';
import { fitShape, type Readers } from './shape-gate.ts';
import { tableName } from './sql.ts';
import { type ColumnValues, unaccepted } from './table-fill.ts';
import { typeLimits } from './types/type-limits.ts';
import { type CatalogType, valueTypeOf } from './types/type-table.ts';

/** What the catalog says of a column. */
export interface CatalogColumn {
  readonly name: string;
  /** pg_attribute.attnum: stays when the column is renamed, and is given to no other column of the table. */
  readonly number: number;
  /** The declared type's oid: a domain's own. */
  readonly typeOid: number;
  /** The declared type as SQL writes it: "character varying(20)". */
  readonly typeText: string;
  readonly nullable: boolean;
  /** Computed by the server; not in the stream. */
  readonly generated: boolean;
  /** The type with domains followed to their base. */
  readonly base: CatalogType;
  /** pg_attribute.atttypmod, which the stream tells too: of a domain -1, whatever its base has. */
  readonly typeModifier: number;
  /** What a row that gives no value gets, as SQL; empty: null. */
  readonly defaultExpression: string;
  /** The labels of an enum, or of an array's, in its order. */
  readonly enumLabels: readonly string[];
  /** The domains from the declared type to its base. */
  readonly domains: readonly CatalogDomain[];
}

/** What the catalog says of a domain. */
export interface CatalogDomain {
  /** With its schema: "public.email". */
  readonly name: string;
  /** The type that it is over, as SQL writes it. */
  readonly baseType: string;
  readonly notNull: boolean;
  /** Its checks by name, as SQL writes them. */
  readonly checks: readonly string[];
}

/** What the catalog says of a table. */
export interface CatalogTable {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  /** pg_class.relkind: 'r' is an ordinary table, 'p' a partitioned one. */
  readonly kind: string;
  /** pg_class.relpersistence: 'p' is logged. */
  readonly persistence: string;
  /** pg_class.relreplident. */
  readonly replicaIdentity: string;
  readonly primaryKey: readonly string[];
  /** The columns of the index that REPLICA IDENTITY USING INDEX names. */
  readonly identityIndex: readonly string[];
  readonly columns: readonly CatalogColumn[];
  readonly maySelect: boolean;
  readonly owner: string;
  /** Whether row-level security applies to us: policies would hide rows. */
  readonly rowSecurity: boolean;
  /** Of a partitioned table: its partitions that have rows of their own, and are not REPLICA IDENTITY FULL. */
  readonly leaves?: readonly CatalogLeaf[] | undefined;
  /** Of a partitioned table: its partitions whose changes are not in the write-ahead log, unlogged ones and foreign tables. */
  readonly unlogged?: readonly Pick<CatalogTable, 'schema' | 'table' | 'kind'>[] | undefined;
  /** Of a partition: the table that it is one of, that one's if it is itself one, and so on. */
  readonly partitionOf?: readonly Pick<CatalogTable, 'schema' | 'table'>[] | undefined;
}

/** What the catalog says of a partition. */
export interface CatalogLeaf {
  readonly schema: string;
  readonly table: string;
  /** pg_class.relreplident. */
  readonly replicaIdentity: string;
  /** The columns that it tells of old rows. */
  readonly identity: readonly string[];
}

const IDENTITIES: Readonly<Record<string, ReplicaIdentity>> = {
  d: ReplicaIdentity.DEFAULT,
  f: ReplicaIdentity.FULL,
  n: ReplicaIdentity.NOTHING,
  i: ReplicaIdentity.INDEX,
};

/** The table's live shape as a contract, version 1: the registry numbers it. Generated columns are not captured. */
export function contractOf(source: string, table: CatalogTable): Contract {
  return create(ContractSchema, {
    source,
    version: 1,
    columns: table.columns.filter((column) => !column.generated).map((column) => contractColumn(table.oid, column)),
    primaryKey: [...table.primaryKey],
    replicaIdentity: IDENTITIES[table.replicaIdentity] ?? ReplicaIdentity.UNSPECIFIED,
    replicaIdentityColumns: table.replicaIdentity === 'i' ? [...table.identityIndex] : [],
  });
}

function contractColumn(tableOid: number, column: CatalogColumn): MessageInitShape<typeof ColumnSchema> {
  const { length, precision, scale, timeZone } = typeLimits(column.base);
  return {
    name: column.name,
    type: valueTypeOf(column.base),
    nullable: column.nullable,
    sourceType: column.typeText,
    sourceTypeOid: column.typeOid,
    length: length ?? 0,
    ...(precision !== undefined && { precision }),
    ...(scale !== undefined && { scale }),
    timeZone,
    defaultExpression: column.defaultExpression,
    enumLabels: [...column.enumLabels],
    domains: column.domains.map((domain) => ({ ...domain, checks: [...domain.checks] })),
    sourceTypeModifier: column.typeModifier,
    tableOid,
    columnNumber: column.number,
  };
}

/** A contract that a relation keeps: for each of its columns, the index among the relation's. */
export interface ContractFit<T> {
  readonly under: T;
  readonly columns: readonly number[];
  /** What is different and passes, one sentence a change, for those whom it touches to know. */
  readonly notes: readonly string[];
}

/** What a contract is kept by. */
export interface Promised extends Readers {
  readonly contract: Contract;
  /** What happens when the shape changes; left out: evolve. */
  readonly policy?: ChangePolicy | undefined;
}

/** Why a relation keeps none of the contracts. */
export interface ContractMisfit {
  /** What of the newest is broken, one sentence a column. */
  readonly problems: readonly string[];
  /** Whether that is nothing but values that were computed anew. */
  readonly isOfValues: boolean;
}

/**
 * The contract that the relation keeps, of candidates that come newest first: one whose types it has exactly, else the first
 * under whose policy it passes. Columns that a contract does not know are passed over. When there is none, what of the
 * newest is broken. `values`: what was computed anew in the table: once the newest contract knows it, rows of before it and
 * of since pass under whichever contract they keep. What was replaced is none of any contract that has it.
 */
export function findContract<T extends Promised>(
  candidates: readonly T[],
  relation: Relation,
  values: readonly ColumnValues[] = [],
): ContractFit<T> | ContractMisfit {
  const newest = must(candidates[0], 'a relation without a contract to keep');
  const replaced = values.filter(({ isReplaced }) => isReplaced === true);
  const rewritten = values.filter(({ isReplaced }) => isReplaced !== true);
  const unknown = [...unaccepted(newest.contract, rewritten, newest.read), ...replaced];
  const fits = candidates.map((under) => {
    return { under, ...fitShape(under.contract, relation, under.policy ?? ChangePolicy.EVOLVE, under, unknown) };
  });
  const found =
    fits.find(({ exact, problems }) => exact && problems.length === 0) ??
    fits.find(({ problems }) => problems.length === 0);
  if (found !== undefined) return { under: found.under, columns: found.columns, notes: found.notes };
  const { problems, isOfValues } = must(fits[0]);
  return { problems, isOfValues };
}

/** As findContract. Throws CONTRACT_BROKEN, naming every column of the newest that is gone or is read as another type now. */
export function bindContract<T extends Promised>(
  candidates: readonly T[],
  relation: Relation,
  database: string,
): ContractFit<T> {
  const found = findContract(candidates, relation);
  if ('under' in found) return found;
  const table = tableName(relation.schema, relation.table);
  const { source } = must(candidates[0]).contract;
  throw new FreshetError(
    'CONTRACT_BROKEN',
    `${table} broke the contract of source ${source}: ${found.problems.join('; ')}`,
    {
      remedy:
        'Nothing is lost. Adapt the definitions and apply them (freshet plan, freshet apply): the table is read under the ' +
        `new contract. If that does not help, start ingest with --resync ${database}=<a word not used before>.`,
      place: table,
    },
  );
}
