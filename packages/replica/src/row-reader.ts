/**
 * Reads rows: one lookup, one comparison of times, and the values. What was computed for a row that is read again and
 * again is kept until a step falls due or a newer version comes.
 *
 * Owns: the cache of steps. A row gets into it when it is computed for the second time among `maxSteps` to
 * twice as many: steps that are kept long enough for the old generation, and are not read again, cost more than computing
 * them (measured, random reads among a million rows: 1.3 of 3.6 µs), and one that is not kept is collected at no cost.
 * Invariants: R2 (all features of a view and key come from one step, so from one version); R4 (at most twice `maxSteps`
 * steps are kept, with values of STEP_BYTES on average: those read in the current turn and in the turn before).
 */
import type { RowBatch } from './row-batch.ts';
import type { RowKey } from './row-key.ts';
import type { RowLayout } from './row-layout.ts';
import { readStepFrom, type Step } from './row-step.ts';
import type { ReplicaRow, ViewTable } from './view-table.ts';
import { WireReader } from './wire-reader.ts';

const STEPS_MAX = 100_000;
/** Values that are no numbers may take so many bytes a step, on average; a single row of texts may have half a MiB. */
export const STEP_BYTES = 256;

/** Rows whose memory is waited for together. */
const COLD_ROWS = 64;

export class RowReader {
  readonly #maxSteps: number;
  #turn = 1;
  #current: ReplicaRow[] = [];
  /** What the values of the steps computed or read in the current turn take, bytes. */
  #currentBytes = 0;
  #before: ReplicaRow[] = [];
  /** The time of ReplicaRow.seen: advances with every `maxSteps` steps computed. */
  #era = 1;
  #computed = 0;
  // Rows of the batch being read whose step is not at hand, and where in the batch they belong.
  readonly #cold: (ReplicaRow | undefined)[] = [];
  readonly #coldAt: number[] = [];
  // The bytes of the row being read; as large as the largest row asked for.
  #bytes: Buffer = Buffer.allocUnsafeSlow(4096);
  readonly #wire = new WireReader(this.#bytes);

  constructor(maxSteps: number = STEPS_MAX) {
    this.#maxSteps = maxSteps;
  }

  /** The values at the time, microseconds, of the table's row for the key; of the empty row when there is none. */
  read(table: ViewTable, layout: RowLayout, key: RowKey, tUs: number): Step {
    const row = table.rows.get(key);
    return row === undefined ? layout.empty : this.#read(row, layout, tUs);
  }

  #read(row: ReplicaRow, layout: RowLayout, tUs: number): Step {
    const { step } = row;
    if (step?.holdsAt(tUs) === true) {
      if (step.turn !== this.#turn) this.#touch(row, step);
      return step;
    }
    return this.#compute(row, layout, tUs);
  }

  /**
   * Reads many rows at one time: batch.steps[i] becomes the values of keys[i] in tables[shards[i]]. The loop that a serve
   * node spends its time in, so it finds a row whose step is at hand without a call.
   */
  readAll(
    batch: RowBatch,
    view: { readonly tables: readonly ViewTable[]; readonly layout: RowLayout },
    rows: { readonly keys: readonly RowKey[]; readonly shards: readonly number[] },
    tUs: number,
  ): void {
    batch.begin(rows.keys.length);
    this.readSome(batch, view, rows, tUs, 0, rows.keys.length);
  }

  /** readAll for the keys from one index to before another, into a batch that was begun for all of them. */
  readSome(
    batch: RowBatch,
    { tables, layout }: { readonly tables: readonly ViewTable[]; readonly layout: RowLayout },
    { keys, shards }: { readonly keys: readonly RowKey[]; readonly shards: readonly number[] },
    tUs: number,
    from: number,
    to: number,
  ): void {
    let cold = 0;
    for (let i = from; i < to; i++) {
      const row = tables[shards[i] as number]?.rows.get(keys[i] as RowKey);
      const step = row?.step;
      if (step?.holdsAt(tUs) === true) {
        if (step.turn !== this.#turn) this.#touch(row as ReplicaRow, step);
        batch.set(i, step);
      } else if (row === undefined) batch.set(i, layout.empty);
      else {
        this.#cold[cold] = row;
        this.#coldAt[cold] = i;
        cold += 1;
        if (cold === COLD_ROWS) {
          this.#readCold(batch, layout, tUs, cold);
          cold = 0;
        }
      }
    }
    if (cold > 0) this.#readCold(batch, layout, tUs, cold);
  }

  /**
   * Reads the first rows of #cold. The bytes of all are touched first, for their lengths: in a loop that does nothing else
   * the processor waits for the memory of several rows at once, between reads it would wait for that of each.
   */
  #readCold(batch: RowBatch, layout: RowLayout, tUs: number, count: number): void {
    let longest = 0;
    for (let i = 0; i < count; i++) longest = Math.max(longest, (this.#cold[i] as ReplicaRow).bytes.length);
    this.#makeRoom(longest);
    for (let i = 0; i < count; i++) {
      batch.set(this.#coldAt[i] as number, this.#read(this.#cold[i] as ReplicaRow, layout, tUs));
      this.#cold[i] = undefined;
    }
  }

  /** Steps kept, at most. */
  get size(): number {
    return this.#current.length + this.#before.length;
  }

  #compute(row: ReplicaRow, layout: RowLayout, tUs: number): Step {
    if (row.bytes === '') return layout.empty;
    const turn = row.step?.turn;
    const step = readStepFrom(this.#open(row.bytes), layout, tUs);
    if (!this.#isSeen(row) && turn === undefined) return step;
    row.step = step;
    // A row that is on the current list already needs no second entry.
    if (turn === this.#turn) {
      step.turn = turn;
      this.#currentBytes += step.bytes;
    } else this.#touch(row, step);
    return step;
  }

  /** Whether a step of the row was computed lately; notes that one is computed now. */
  #isSeen(row: ReplicaRow): boolean {
    this.#computed += 1;
    if (this.#computed > this.#maxSteps) {
      this.#computed = 1;
      this.#era += 1;
    }
    const seen = row.seen >= this.#era - 1;
    row.seen = this.#era;
    return seen;
  }

  /** A reader of a row's bytes, which lie where the row before lay: no read pays for a buffer of its own. */
  #open(bytes: string): WireReader {
    this.#makeRoom(bytes.length);
    this.#bytes.write(bytes, 0, 'latin1');
    this.#wire.reset(this.#bytes, 0, bytes.length);
    return this.#wire;
  }

  #makeRoom(length: number): void {
    if (length > this.#bytes.length) this.#bytes = Buffer.allocUnsafeSlow(length * 2);
  }

  #touch(row: ReplicaRow, step: Step): void {
    step.turn = this.#turn;
    this.#current.push(row);
    this.#currentBytes += step.bytes;
    if (this.#current.length < this.#maxSteps && this.#currentBytes < this.#maxSteps * STEP_BYTES) return;
    for (const old of this.#before) {
      if (old.step !== undefined && old.step.turn !== this.#turn) old.step = undefined;
    }
    this.#before = this.#current;
    this.#current = [];
    this.#currentBytes = 0;
    this.#turn += 1;
  }
}
