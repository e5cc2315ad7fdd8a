/**
 * Looks joined columns up for the rows of one view instance.
 *
 * Owns finding a table's row for a row and reading the columns that the view wants from it, by the contract that the
 * table's row was captured under. A missing row, a null in the key, a key that cannot be one and a column that the row's
 * contract did not have read as null. Does not own the tables (table.ts).
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { encodeKey, keyString } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import type { Raw } from '../aggregates/aggregate.ts';
import { readRawValue } from '../record/raw-value.ts';
import { WireCursor } from '../record/wire-cursor.ts';
import type { RunnableJoin } from '../state/join-plan.ts';
import type { ContractBook } from './contract-book.ts';
import type { JoinedTables } from './table.ts';

export class JoinReader {
  readonly #cursor = new WireCursor();
  /** By join, then contract version: the position in the table's rows of each column; a version is one contract for ever. */
  readonly #positions = new Map<RunnableJoin, Map<number, Int32Array>>();

  /** Fills the join's columns in the row; false when the table lacks the row. `key` is the row's entity key. */
  read(join: RunnableJoin, row: Raw[], key: string, tables: JoinedTables, contracts: ContractBook): boolean {
    const found = join.broadcast ? keyOf(join, row) : key;
    const bytes = found === undefined ? undefined : tables.get(join.route)?.current?.find(found);
    if (bytes === undefined) {
      for (const { index } of join.columns) row[index] = null;
      return isWithout(join, row);
    }
    const cursor = this.#cursor;
    cursor.load(bytes);
    cursor.varint(); // the format
    cursor.varint(); // the version
    const positions = this.#positionsOf(join, cursor.varint(), contracts);
    this.#readColumns(join, row, positions);
    return true;
  }

  /** The join's columns are in the order of their positions in most rows, so that most are read in one walk. */
  #readColumns({ columns }: RunnableJoin, row: Raw[], positions: Int32Array): void {
    const cursor = this.#cursor;
    const first = cursor.at;
    let at = 0;
    for (let i = 0; i < columns.length; i++) {
      const { index, type } = columns[i] as RunnableJoin['columns'][number];
      const position = positions[i] as number;
      if (position < 0) {
        row[index] = null;
        continue;
      }
      if (position < at) {
        at = 0;
        cursor.at = first;
      }
      while (at < position && cursor.at < cursor.end) {
        cursor.at = cursor.part();
        at++;
      }
      // A row may end before its contract does: what it does not name is null.
      if (cursor.at >= cursor.end) {
        row[index] = null;
        continue;
      }
      row[index] = readRawValue(cursor, cursor.part(), type);
      at++;
    }
  }

  #positionsOf(join: RunnableJoin, version: number, contracts: ContractBook): Int32Array {
    let byVersion = this.#positions.get(join);
    if (byVersion === undefined) {
      byVersion = new Map();
      this.#positions.set(join, byVersion);
    }
    const known = byVersion.get(version);
    if (known !== undefined) return known;
    const contract = contracts.find(join.route, version);
    const positions = Int32Array.from(join.columns, (column) =>
      contract === undefined ? -1 : contracts.position(join.route, contract, column),
    );
    // Definitions may still bring a contract that is not known.
    if (contract !== undefined) byVersion.set(version, positions);
    return positions;
  }
}

/** Whether the row names no row of the table: then none is missing. */
function isWithout({ on }: RunnableJoin, row: readonly Raw[]): boolean {
  return on.some((index) => row[index] === null);
}

/** The table's key by the row's columns; undefined when none of the table's rows can have it. */
function keyOf({ on, kinds }: RunnableJoin, row: readonly Raw[]): string | undefined {
  const values: Scalar[] = [];
  for (let i = 0; i < on.length; i++) {
    const value = row[on[i] as number] as Raw;
    if (value === null) return undefined;
    const kind = kinds[i];
    const whole = (kind === Kind.INT64 || kind === Kind.TIMESTAMP) && typeof value === 'number';
    values.push(whole ? BigInt(value) : (value as Scalar));
  }
  try {
    return keyString(encodeKey(kinds, values));
  } catch (error) {
    // Too long, or no number: ingest files no row under it either.
    if (isFreshetError(error, 'WRONG_KEY')) return undefined;
    throw error;
  }
}
