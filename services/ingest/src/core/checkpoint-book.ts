/**
 * What ingest knows of the checkpoints of those who fold its log, and so how far back the log must reach. Pure.
 *
 *     node a   shard 0 at 900   shard 1 at 500      ──▶  allowed below:  0 → 700   1 → 500   2 → nothing
 *     node b   shard 0 at 700                             (shard 2: nobody told of a checkpoint)
 *
 * Invariant L2: nothing at or above the oldest checkpoint of any known node is allowed away, and of a shard that somebody
 * holds without a checkpoint, or that nobody told of, nothing at all. A node is known until it leaves or has been silent
 * for long; silence is counted while ingest runs and could have heard it, and by no wall clock: one that leaps a year
 * ahead must not forget anybody.
 * Limits: NODES_MAX nodes, refused beyond; as many shards a node as there are partitions.
 */
import { FreshetError } from '@freshet/kit/errors.ts';

export const NODES_MAX = 256;

/** A node and how far back it may have to read again. */
export interface NodeCheckpoints {
  readonly nodeId: string;
  /** By shard, the first offset that it would read; 0: it has no checkpoint. */
  readonly offsets: ReadonlyMap<number, number>;
  /** How long ingest has run since it was last heard of, microseconds. */
  readonly silentUs: number;
}

export class CheckpointBook {
  readonly #nodes: Map<string, NodeCheckpoints>;

  constructor(nodes: readonly NodeCheckpoints[] = []) {
    this.#nodes = new Map(nodes.map((node) => [node.nodeId, node]));
  }

  get nodes(): readonly NodeCheckpoints[] {
    return [...this.#nodes.values()];
  }

  /** The book after a node told of its checkpoints; without any it leaves. Throws LIMIT_EXCEEDED for one node too many. */
  noted(nodeId: string, offsets: ReadonlyMap<number, number>): CheckpointBook {
    const nodes = this.nodes.filter((node) => node.nodeId !== nodeId);
    if (offsets.size === 0) return new CheckpointBook(nodes);
    if (nodes.length >= NODES_MAX) {
      throw new FreshetError('LIMIT_EXCEEDED', `${nodes.length} nodes fold this log already`, {
        remedy: 'Nodes that are gone are forgotten after --checkpoint-node-timeout; lower it, and start ingest again.',
      });
    }
    return new CheckpointBook([...nodes, { nodeId, offsets, silentUs: 0 }]);
  }

  /** The book after some time without a word from anybody, and who is forgotten for having been silent too long. */
  elapsed(us: number, timeoutUs: number): { book: CheckpointBook; forgotten: readonly NodeCheckpoints[] } {
    const aged = this.nodes.map((node) => ({ ...node, silentUs: node.silentUs + us }));
    return {
      book: new CheckpointBook(aged.filter(({ silentUs }) => silentUs <= timeoutUs)),
      forgotten: aged.filter(({ silentUs }) => silentUs > timeoutUs),
    };
  }

  /** The offset below which nobody known needs the partition; undefined: all of it may be needed. */
  allowedBelow(partition: number): number | undefined {
    const offsets = this.nodes.flatMap((node) => node.offsets.get(partition) ?? []);
    const least = Math.min(...offsets);
    return offsets.length === 0 || least === 0 ? undefined : least;
  }
}

/** Refuses offsets that no partition of the log has. Throws OFFSET_OUT_OF_RANGE or INVALID_REQUEST. */
export function checkOffsets(offsets: ReadonlyMap<number, number>, ends: readonly number[]): void {
  for (const [shard, offset] of offsets) {
    const end = ends[shard];
    if (end === undefined) {
      throw new FreshetError('INVALID_REQUEST', `there is no partition ${shard}: the log has ${ends.length}`);
    }
    if (offset > end) {
      throw new FreshetError('OFFSET_OUT_OF_RANGE', `partition ${shard} ends at ${end}; ${offset} is beyond it`, {
        remedy: 'the checkpoint is of another log, or the log was cut: see that both are of the same deployment',
      });
    }
  }
}
