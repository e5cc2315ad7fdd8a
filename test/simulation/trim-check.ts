/**
 * Whether the log is kept for whoever was promised it (L2): a node whose word of its checkpoints was taken can read from
 * there on. A trim too far is wrong when it happens: a shard that needs what is gone is folded anew from sources that are
 * read anew, so it shows in no row unless the database has less than the log had.
 *
 * Owns a book of its own of who told what, which knows nothing of ingest's. A word that is under way, or whose answer was
 * lost, may count or not; the log may be trimmed by whichever allows more.
 */
import type { NoteCheckpointsRequest } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { SegmentLog } from '@freshet/log/segment-log.ts';

type Offsets = ReadonlyMap<number, number>;

interface Told {
  /** What was answered last. */
  taken: Offsets | undefined;
  /** What was told since and not answered. */
  readonly open: Set<Offsets>;
}

interface Limit {
  readonly below: number;
  /** Who sets it. */
  readonly by: string;
}

export class TrimCheck {
  readonly #nodes = new Map<string, Told>();
  /** By partition, how far it could be trimmed when that was decided last. */
  readonly #limits = new Map<number, Limit>();

  /** What answers a node that tells of its checkpoints, watched. */
  watchNotes<T>(
    note: (request: NoteCheckpointsRequest) => Promise<T>,
  ): (request: NoteCheckpointsRequest) => Promise<T> {
    return async (request) => {
      const offsets = new Map(request.checkpoints.map(({ shard, offset }) => [shard, Number(offset)]));
      const told = this.#nodes.get(request.nodeId) ?? { taken: undefined, open: new Set<Offsets>() };
      this.#nodes.set(request.nodeId, told);
      const before = [...told.open];
      told.open.add(offsets);
      const answer = await note(request);
      for (const older of [...before, offsets]) told.open.delete(older);
      told.taken = offsets;
      return answer;
    };
  }

  /** Whether a node ever told what it needs: it has to before it reads. */
  isKnown(node: string): boolean {
    return this.#nodes.has(node);
  }

  /** To be called when it is decided how far a partition is trimmed. */
  noteDecision(partition: number): void {
    this.#limits.set(partition, this.#limit(partition));
  }

  /** The log as its keeper trims it, watched. */
  watchTrims(
    log: SegmentLog,
    onWrong: (what: string) => void,
  ): Pick<SegmentLog, 'partitionCount' | 'segments' | 'trim'> {
    return {
      partitionCount: log.partitionCount,
      segments: (partition) => log.segments(partition),
      trim: (partition, below) => {
        const limit = this.#limits.get(partition);
        // What is gone already is only tidied up.
        const isNew = below > (log.segments(partition)[0]?.firstOffset ?? 0);
        if (isNew && limit !== undefined && below > limit.below)
          onWrong(
            `L2: partition ${partition} is trimmed below ${below}, but ${limit.by} needs it from ${limit.below} on`,
          );
        return log.trim(partition, below);
      },
    };
  }

  #limit(partition: number): Limit {
    let isTold = false;
    let limit: Limit = { below: Number.POSITIVE_INFINITY, by: 'nobody' };
    for (const [node, { taken, open }] of this.#nodes) {
      const some = [taken, ...open].flatMap((offsets) => offsets?.get(partition) ?? []);
      if (some.length > 0) isTold = true;
      const below = Math.max(...some);
      if (taken?.has(partition) === true && below < limit.below) limit = { below, by: node };
    }
    return isTold ? limit : { below: 0, by: 'somebody of whom nothing is known' };
  }
}
