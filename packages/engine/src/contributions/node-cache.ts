/**
 * The leaves and directories of a view instance's contributions in memory, in front of the cold store.
 *
 * Owns which are held, which are dirty, and dropping clean ones, within the byte budget that key states have too
 * (../fold/state-cache.ts), in the same way. Does not own how leaves hang together (contribution-tree.ts).
 *
 * Invariant R4: evict() brings memory under the budget as far as what is dirty, or in a commit that is not durable,
 * allows. Invariant F1: whether a node is held or not never shows in a value. A node that is gone stays here until the
 * cold store no longer has it.
 */
import { assert, must } from '@freshet/kit/assert.ts';
import type { CacheUse } from '../fold/state-cache.ts';
import type { ColdState } from '../shard-fold.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { NOT_STORED, Stage } from '../state/key-state.ts';
import { type Bound, Leaf } from './leaf.ts';
import { type DecodedNode, decodeNode, encodeDirectory, encodeLeaf, leafKey, rootKey } from './node-codec.ts';
import type { Partials } from './partials.ts';
import type { PartialsShare } from './partials-share.ts';

/** Measured with 100,000 keys of one row: the objects, the key, its place in the map. */
const NODE_BYTES = 430;
/** A bound. */
const BOUND_BYTES = 56;
/** What a node takes in a commit beside its contributions; one that is gone is something to commit too. */
const KEY_BYTES = 48;

export class Node {
  readonly entityKey: string;
  /** Where the leaf begins; undefined: the root of its key, which is its only leaf or its directory. */
  readonly bound: Bound | undefined;
  leaf = new Leaf();
  /** A directory's: where each leaf begins, ascending. */
  bounds: Bound[] | undefined;
  /** A directory's: what was asked of its leaves. Only in memory, and counted by itself (partials-share.ts). */
  partials: Partials | undefined;
  /** The offset of the last record that changed it. */
  version = 0;
  storedVersion: number = NOT_STORED;
  stage: number = Stage.CLEAN;
  recent = true;
  gone = false;
  sizeBytes = 0;

  constructor(entityKey: string, bound: Bound | undefined) {
    this.entityKey = entityKey;
    this.bound = bound;
  }

  /** The key in the cold store. */
  get key(): string {
    return this.bound === undefined ? rootKey(this.entityKey) : leafKey(this.entityKey, this.bound);
  }
}

type Put = (key: string, bytes: Uint8Array | undefined, replaced: number) => void;

export class NodeCache {
  readonly #instance: string;
  readonly #cold: ColdState;
  readonly #use: CacheUse;
  /** By entity key. */
  readonly #roots = new Map<string, Node>();
  /** By key in the store. */
  readonly #leaves = new Map<string, Node>();
  #isPartial: boolean;
  /** The key that was found last to have nothing, in the store either: one change asks for it several times. */
  #missing: string | undefined;
  #dirty: Node[] = [];
  #taken: Node[] = [];
  #hands: (MapIterator<[string, Node]> | undefined)[] = [undefined, undefined];

  constructor(instance: string, cold: ColdState, use: CacheUse, isPartial: boolean) {
    this.#instance = instance;
    this.#cold = cold;
    this.#use = use;
    this.#isPartial = isPartial;
  }

  get isPartial(): boolean {
    return this.#isPartial;
  }

  /** What directories may keep beside their leaves. */
  get partials(): PartialsShare {
    return this.#use.partials;
  }

  /** The root of a key, if it has any contribution. */
  root(entityKey: string): Node | undefined {
    const held = this.#roots.get(entityKey);
    if (held !== undefined) {
      held.recent = true;
      return held.gone ? undefined : held;
    }
    if (entityKey === this.#missing) return undefined;
    const node = this.#load(entityKey, undefined);
    if (node === undefined) this.#missing = entityKey;
    else this.#hold(node);
    return node;
  }

  /** A leaf of a directory. */
  leaf(entityKey: string, bound: Bound): Node {
    const key = leafKey(entityKey, bound);
    const held = this.#leaves.get(key);
    if (held !== undefined) {
      assert(!held.gone, 'a directory names a leaf that is gone');
      held.recent = true;
      return held;
    }
    const node = must(this.#load(entityKey, bound), 'a directory names a leaf that is not there');
    this.#hold(node);
    return node;
  }

  /** As leaf(), without keeping in memory what was not there: for passes over all leaves of a key. */
  peekLeaf(entityKey: string, bound: Bound): Node {
    const held = this.#leaves.get(leafKey(entityKey, bound));
    return held ?? must(this.#load(entityKey, bound), 'a directory names a leaf that is not there');
  }

  /** A node that is not there yet, empty; call changed() after filling it. */
  create(entityKey: string, bound: Bound | undefined): Node {
    this.#missing = undefined;
    const held = bound === undefined ? this.#roots.get(entityKey) : this.#leaves.get(leafKey(entityKey, bound));
    if (held === undefined) {
      const node = new Node(entityKey, bound);
      this.#hold(node);
      return node;
    }
    assert(held.gone, 'a node is made that is there already');
    held.gone = false;
    held.recent = true;
    return held;
  }

  changed(node: Node, version: number): void {
    node.version = version;
    const sizeBytes = sizeOf(node);
    const grownBytes = sizeBytes - node.sizeBytes;
    this.#use.bytes += grownBytes;
    node.sizeBytes = sizeBytes;
    if (node.stage === Stage.DIRTY) {
      // A leaf may be dirty with one row, and grow to many before it is committed.
      if (grownBytes > 0) this.#use.dirtyBytes += grownBytes;
      return;
    }
    node.stage = Stage.DIRTY;
    this.#use.dirtyBytes += KEY_BYTES + node.leaf.length;
    this.#dirty.push(node);
  }

  /** The node has nothing any more. */
  remove(node: Node, version: number): void {
    node.gone = true;
    node.leaf = new Leaf();
    node.bounds = undefined;
    this.partials.release(node);
    this.changed(node, version);
  }

  /** Hands what is dirty to `put`: its bytes, or undefined when it is gone, and the version of the stored one it replaces. */
  take(writer: ByteWriter, put: Put): void {
    for (const node of this.#dirty) {
      const { storedVersion } = node;
      node.stage = Stage.TAKEN;
      this.#taken.push(node);
      if (node.gone) {
        node.storedVersion = NOT_STORED;
        if (storedVersion !== NOT_STORED) put(node.key, undefined, storedVersion);
        continue;
      }
      node.storedVersion = node.version;
      const { bounds, version } = node;
      const bytes =
        bounds === undefined ? encodeLeaf(writer, version, node.leaf) : encodeDirectory(writer, version, bounds);
      put(node.key, bytes, storedVersion);
    }
    this.#dirty = [];
  }

  /** What was taken is durable. */
  settle(): void {
    for (const node of this.#taken) {
      if (node.stage !== Stage.TAKEN) continue;
      node.stage = Stage.CLEAN;
      if (node.gone) this.#drop(node);
    }
    this.#taken = [];
  }

  evict(limitBytes: number): void {
    [this.#roots, this.#leaves].forEach((nodes, index) => {
      let left = nodes.size * 2;
      while (this.#use.bytes > limitBytes && left > 0) {
        left--;
        let hand = this.#hands[index];
        hand ??= nodes.entries();
        this.#hands[index] = hand;
        const next = hand.next();
        if (next.done === true) {
          this.#hands[index] = undefined;
          continue;
        }
        const node = next.value[1];
        if (node.recent) node.recent = false;
        else if (node.stage === Stage.CLEAN) {
          this.#drop(node);
          this.#isPartial = true;
        }
      }
    });
  }

  close(): void {
    for (const nodes of [this.#roots, this.#leaves]) {
      for (const node of nodes.values()) this.#release(node);
      nodes.clear();
    }
    this.#dirty = [];
    this.#taken = [];
  }

  /** All that hold contributions, in memory or not, by key in the store ascending. Needs ColdState.scan; for digests. */
  *all(): Generator<[key: string, node: DecodedNode]> {
    const held = new Map([...this.#roots.values(), ...this.#leaves.values()].map((node) => [node.key, node]));
    const hot = [...held.keys()].sort();
    let at = 0;
    function* until(end: string | undefined): Generator<[string, DecodedNode]> {
      for (; at < hot.length && (end === undefined || must(hot[at]) <= end); at++) {
        const key = must(hot[at]);
        const node = must(held.get(key));
        if (!node.gone) yield [key, node];
      }
    }
    if (this.#isPartial) {
      assert(this.#cold.scan !== undefined, 'the cold store cannot be scanned');
      for (const [key, bytes] of this.#cold.scan(this.#instance, undefined)) {
        yield* until(key);
        if (!held.has(key)) yield [key, decodeNode(bytes)];
      }
    }
    yield* until(undefined);
  }

  #hold(node: Node): void {
    if (node.bound === undefined) this.#roots.set(node.entityKey, node);
    else this.#leaves.set(node.key, node);
    node.sizeBytes = sizeOf(node);
    this.#use.bytes += node.sizeBytes;
  }

  #drop(node: Node): void {
    if (node.bound === undefined) this.#roots.delete(node.entityKey);
    else this.#leaves.delete(node.key);
    this.#release(node);
  }

  #release(node: Node): void {
    this.#use.bytes -= node.sizeBytes;
    this.partials.release(node);
  }

  #load(entityKey: string, bound: Bound | undefined): Node | undefined {
    if (!this.#isPartial) return undefined;
    const node = new Node(entityKey, bound);
    const bytes = this.#cold.load(this.#instance, node.key);
    if (bytes === undefined) return undefined;
    const { version, bounds, leaf } = decodeNode(bytes);
    node.version = version;
    node.storedVersion = version;
    node.bounds = bounds;
    node.leaf = leaf;
    return node;
  }
}

function sizeOf({ entityKey, leaf, bounds }: Node): number {
  return NODE_BYTES + 2 * entityKey.length + leaf.bytes.length + BOUND_BYTES * (bounds?.length ?? 0);
}
