/** SubscribeChanges: everything that changed after the cursors, then what changes. */
import type { ShardCursor } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { follow } from '../core/follow.ts';
import type { Cursor } from '../core/frame.ts';
import type { ShardSource } from '../core/shard-source.ts';
import type { ComputeHandlers, HandlerOptions } from './handlers.ts';

export function subscribeChanges(running: ShardSource, options: HandlerOptions): ComputeHandlers['subscribeChanges'] {
  return (request, { signal }) => {
    const wanted = request.views.length === 0 ? undefined : new Set(request.views.map(toHex));
    const coalesceUs = Number(request.coalesceUs);
    const cursors = cursorsOf(running, request.shards);
    return follow(running, cursors, { ...options, wanted, coalesceUs, signal });
  };
}

/** The cursors that are given. Throws when a shard is named twice or is not one of this node's. */
function cursorsOf(running: ShardSource, cursors: readonly ShardCursor[]): Cursor[] {
  const seen = new Set<number>();
  return cursors.map((cursor, index) => {
    if (seen.has(cursor.shard)) {
      throw new FreshetError('INVALID_REQUEST', `shard ${cursor.shard} is named twice`, { place: `shards[${index}]` });
    }
    seen.add(cursor.shard);
    if (!running.holds(cursor.shard)) {
      const here = running.shards.map((s) => s.shard).join(', ');
      throw new FreshetError('UNAVAILABLE', `shard ${cursor.shard} does not run here; running: ${here || 'none'}`, {
        place: `shards[${index}]`,
        remedy: 'look up which node has it, and try again',
      });
    }
    return decodeCursor(cursor, index);
  });
}

function decodeCursor(cursor: ShardCursor, index: number): Cursor {
  const position = Number(cursor.position);
  const aheadPosition = Number(cursor.aheadPosition);
  const logId = toHex(cursor.logId);
  const isPlace = Number.isSafeInteger(position) && Number.isSafeInteger(aheadPosition);
  if (!isPlace || (position > 0 && logId.length !== 32)) {
    throw new FreshetError('INVALID_REQUEST', 'the cursor is not one that this service gave', {
      place: `shards[${index}]`,
      remedy: 'start over with position 0',
    });
  }
  const ahead = aheadPosition > position ? { position: aheadPosition, recordCrc: cursor.aheadCrc } : undefined;
  return { shard: cursor.shard, logId, position, recordCrc: cursor.recordCrc, views: cursor.views.map(toHex), ahead };
}
