/**
 * By which columns a source's rows are told apart: what an update or a delete of a mutable source refers to.
 *
 * Owns the rule. Does not own the bytes of a row's key (ingest makes them, nobody else reads them).
 */
import { type Contract, ReplicaIdentity } from '@freshet/gen/freshet/type/v1/contract_pb.ts';

export interface RowIdentity {
  /** The columns' names, in the contract's order of them. */
  readonly columns: readonly string[];
  /** Whether two live rows never share an identity. Without a key, equal rows are alike: of these an old one goes first. */
  readonly unique: boolean;
}

/** The identity of the rows of a contract: the replica identity's index, else the primary key, else all columns. */
export function rowIdentity(contract: Contract): RowIdentity {
  const { primaryKey, replicaIdentity, replicaIdentityColumns, columns } = contract;
  if (replicaIdentity === ReplicaIdentity.INDEX && replicaIdentityColumns.length > 0) {
    return { columns: replicaIdentityColumns, unique: true };
  }
  if (primaryKey.length > 0) return { columns: primaryKey, unique: true };
  return { columns: columns.map(({ name }) => name), unique: false };
}
