/**
 * How large the state of a view gets, by its plan alone: for people who want to know before they apply.
 *
 * Owns the estimate. It asks the accumulators themselves: each is given one usual value and written, so that what is told
 * follows the layout of state-codec.ts and not a table beside it. Short texts are assumed; texts of a kilobyte take a kilobyte.
 */
import type { ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Accumulator, Raw } from '../aggregates/aggregate.ts';
import { ByteWriter } from './byte-writer.ts';
import { type FeatureGroup, type RunnableView, runnableView } from './view-plan.ts';

/** What an event has as time and offset, of a usual length. */
const EVENT_TIME_US = 1_790_000_000_000_000;
const OFFSET = 100_000_000;
/** Format, version, log time, newest event time: as state-codec.ts writes them. */
const HEAD_BYTES = 22;
/** A pane's number is told by its distance from the one before. */
const PANE_BYTES = 1;
const TEXT = 'sixteen letters.';
/** Of a contribution beside its inputs (contributions/contribution.ts): hash, lengths, event time, offset, and a row key of usual length. */
const CONTRIBUTION_BYTES = 32;
const NUMBER_BYTES = 9;

export interface StateSize {
  /** Of a key all of whose panes hold something. */
  readonly keyBytes: number;
  /** Of each live row of a mutable source beside that; 0 for other views. */
  readonly rowBytes: number;
}

/** An estimate, in bytes, of what compute keeps for a view. */
export function stateSize(plan: ViewPlan, isMutable: boolean): StateSize {
  const view = runnableView(plan);
  let keyBytes = HEAD_BYTES;
  for (const group of view.groups) keyBytes += groupBytes(view, group);
  return { keyBytes, rowBytes: isMutable ? contributionBytes(view) : 0 };
}

function groupBytes(view: RunnableView, { window, features }: FeatureGroup): number {
  // The pane that time is in, and those that a window reaches back to.
  const panes = window.kind === 'lifetime' ? 1 : window.reach + 1;
  let bytes = 2 + PANE_BYTES * panes;
  for (const { accumulator, input } of features) {
    bytes += Math.ceil(panes / 8) + panes * accumulatorBytes(accumulator, input < 0 ? undefined : typeAt(view, input));
  }
  return bytes;
}

function accumulatorBytes(accumulator: Accumulator, type: ValueType | undefined): number {
  const cells: unknown[] = new Array<unknown>(accumulator.width).fill(0);
  accumulator.add(cells, 0, type === undefined ? undefined : usual(type), EVENT_TIME_US, OFFSET);
  const writer = new ByteWriter();
  writer.reset();
  if (cells[0] !== 0) accumulator.write(writer, cells, 0);
  return writer.length;
}

/** The type of what stands at an index of the row of columns, joined and derived columns. */
function typeAt(view: RunnableView, index: number): ValueType | undefined {
  const joined = view.plan.joins.flatMap((join) => join.columns.map(({ column }) => column?.type));
  return [...view.columns.map(({ type }) => type), ...joined, ...view.plan.derived.map(({ type }) => type)][index];
}

function usual(type: ValueType): Raw {
  switch (type.kind) {
    case Kind.STRING:
      return TEXT;
    case Kind.DECIMAL:
      return '1234.56';
    case Kind.BOOL:
      return true;
    case Kind.BYTES:
      return new Uint8Array(TEXT.length);
    case Kind.TIMESTAMP:
      return EVENT_TIME_US;
    case Kind.DOUBLE:
      return 1234.5625;
    case Kind.LIST:
      return [];
    case Kind.VECTOR:
      return new Float32Array(type.dimension);
    default:
      return 123_456;
  }
}

function contributionBytes(view: RunnableView): number {
  let bytes = CONTRIBUTION_BYTES + Math.ceil(view.inputs.length / 8);
  for (const { index, codec } of view.inputs) {
    if (codec === undefined) continue;
    const kind = typeAt(view, index)?.kind;
    bytes += kind === Kind.STRING || kind === Kind.BYTES || kind === Kind.LIST ? TEXT.length + 1 : NUMBER_BYTES;
  }
  return bytes;
}
