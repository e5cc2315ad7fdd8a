/**
 * A replica in a few lines, by the letter of compute.proto: what any follower must be able to rely on. It checks every
 * frame and keeps rows by the rules; it knows nothing of how frames are made.
 */
import type { ShardCursor, SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { keyString } from '@freshet/values/key.ts';

export interface ModelRow {
  readonly version: number;
  /** Latin-1 text of the row's bytes; empty: gone. */
  readonly row: string;
}

export class ModelReplica {
  cursor: ShardCursor | undefined;
  completeThroughUs = 0;
  building: string[] = [];
  generation = 0;
  frames = 0;
  /** Frames that were pages of passes. */
  pages = 0;
  /** Passes that began. */
  passes = 0;
  /** The code of the error by which the shard is said to be unavailable; undefined while it is not. */
  unavailable: string | undefined;
  readonly rows = new Map<string, Map<string, ModelRow>>();
  /** The generation that each view's rows are of: that of the pass that brought them. */
  readonly generations = new Map<string, number>();
  /** Views of the cursor whose rows stand still, with the log time through which they are complete. */
  standing = new Map<string, number>();
  /** Where each view's pass is; a page must continue it. */
  readonly #passes = new Map<string, string>();

  /** A replica that has what this one has now: what would be on its disk. */
  copy(): ModelReplica {
    const copy = new ModelReplica();
    Object.assign(copy, { cursor: this.cursor, completeThroughUs: this.completeThroughUs, building: this.building });
    copy.generation = this.generation;
    for (const [viewId, rows] of this.rows) copy.rows.set(viewId, new Map(rows));
    for (const [viewId, generation] of this.generations) copy.generations.set(viewId, generation);
    copy.standing = new Map(this.standing);
    return copy;
  }

  /** A new subscription begins: half-done passes start again. */
  reconnected(): void {
    this.#passes.clear();
  }

  apply(frame: SubscribeChangesResponse): void {
    this.frames += 1;
    const cursor = frame.cursor;
    assert(cursor !== undefined, 'every frame has a cursor');
    const before = this.cursor;
    this.unavailable = frame.unavailable?.code;
    if (frame.unavailable !== undefined) {
      assert(frame.rows.length === 0 && frame.pass === undefined, 'an unavailable shard has nothing to say');
      assert(cursor.position === (before?.position ?? 0n) && frame.after === cursor.position, 'its cursor stands');
      this.#passes.clear();
      return;
    }
    if (before !== undefined && before.position > 0n && frame.after === 0n) {
      // Another history: nothing of the old one counts (R3).
      this.rows.clear();
      this.generations.clear();
      this.#passes.clear();
      this.cursor = undefined;
    }
    const had = this.cursor;
    const at = had?.position ?? 0n;
    assert(frame.after === at, `a frame continues: after ${frame.after}, at ${at}`);
    assert(cursor.position >= at, 'a cursor never goes back');
    if (had !== undefined && cursor.position === had.position) {
      assert(Number(frame.completeThroughUs) >= this.completeThroughUs, 'completeness never goes back');
    }
    for (const { viewId, rows } of frame.rows) {
      for (const { key, version, row } of rows) {
        this.#put(toHex(viewId), keyString(key), {
          version: Number(version),
          row: Buffer.from(row).toString('latin1'),
        });
      }
    }
    if (frame.pass !== undefined) this.#page(frame);
    this.cursor = cursor;
    this.completeThroughUs = Number(frame.completeThroughUs);
    this.building = frame.building.map(toHex);
    this.standing = new Map(frame.standing.map((view) => [toHex(view.viewId), Number(view.completeThroughUs)]));
    for (const viewId of this.standing.keys()) {
      const isNamed = cursor.views.some((named) => toHex(named) === viewId);
      assert(isNamed && !this.#passes.has(viewId), 'only rows that are there stand still');
    }
    this.generation = Number(frame.definitionsGeneration);
    // A view that the cursor no longer names may be forgotten.
    const whole = new Set(cursor.views.map(toHex));
    for (const viewId of this.rows.keys()) {
      if (had?.views.some((v) => toHex(v) === viewId) && !whole.has(viewId)) this.rows.delete(viewId);
    }
    this.#forgetGone(Number(cursor.position));
  }

  /** That a row is gone need not be remembered below the cursor, unless a pass of its view is under way. */
  #forgetGone(position: number): void {
    for (const [viewId, rows] of this.rows) {
      if (this.#passes.has(viewId)) continue;
      for (const [key, row] of rows) if (row.row === '' && row.version < position) rows.delete(key);
    }
  }

  /** The rows that there are. */
  present(viewId: string): Map<string, ModelRow> {
    return new Map([...(this.rows.get(viewId) ?? [])].filter(([, row]) => row.row !== ''));
  }

  #put(viewId: string, key: string, row: ModelRow): void {
    const rows = this.rows.get(viewId) ?? new Map<string, ModelRow>();
    this.rows.set(viewId, rows);
    const known = rows.get(key);
    if (known === undefined || row.version > known.version) rows.set(key, row);
    else if (row.version === known.version) assert(row.row === known.row, 'R1: equal bytes at equal versions');
  }

  /** R3: a view's rows come to be of another generation only by a pass, after the cursor had ceased to name the view. */
  #noteGeneration(viewId: string, generation: number, mayChange: boolean): void {
    const known = this.generations.get(viewId);
    assert(generation > 0, 'a page says its generation');
    assert(
      known === undefined || generation === known || (mayChange && generation > known),
      'R3: a generation is whole',
    );
    this.generations.set(viewId, generation);
  }

  #isNamed(viewId: string): boolean {
    return this.cursor?.views.some((named) => toHex(named) === viewId) === true;
  }

  #page(frame: SubscribeChangesResponse): void {
    const page = frame.pass;
    assert(page !== undefined, 'a page');
    this.pages += 1;
    if (page.afterKey.length === 0) this.passes += 1;
    assert(frame.cursor?.position === frame.after, 'the cursor does not move with a page');
    const viewId = toHex(page.viewId);
    const after = keyString(page.afterKey);
    this.#noteGeneration(viewId, page.generation, after === '' && !this.#isNamed(viewId));
    // A pass begins anew when its view was dropped and came back, or the journal ran out, in the middle of it.
    assert(after === '' || after === this.#passes.get(viewId), 'a page continues the one before, or begins the pass');
    const through = keyString(page.throughKey);
    const brought = new Set<string>();
    for (const view of frame.rows) {
      assert(toHex(view.viewId) === viewId, "a page has its view's rows only");
      let last = after;
      for (const { key } of view.rows) {
        const text = keyString(key);
        assert(text > last, 'keys of a page ascend');
        assert(page.last || text <= through, 'keys of a page are in its range');
        last = text;
        brought.add(text);
      }
    }
    for (const [key, row] of this.rows.get(viewId) ?? []) {
      const inRange = key > after && (page.last || key <= through);
      if (inRange && !brought.has(key) && row.version < Number(page.asOf)) this.rows.get(viewId)?.delete(key);
    }
    if (page.last) this.#passes.delete(viewId);
    else this.#passes.set(viewId, through);
  }
}
