/** SubscribeChanges: everything that changed after the cursors, then what changes. */
import type { ShardCursor } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { follow } from '../core/follow.ts';
import type { Cursor } from '../core/frame.ts';
import type { Shard } from '../core/shard.ts';
import { ShardFollower } from '../core/shard-follower.ts';
import type { ComputeHandlers, HandlerOptions, RunningShards } from './handlers.ts';

export function subscribeChanges(running: RunningShards, options: HandlerOptions): ComputeHandlers['subscribeChanges'] {
  return (request, { signal }) => {
    const wanted = request.views.length === 0 ? undefined : new Set(request.views.map(toHex));
    const coalesceUs = Number(request.coalesceUs);
    const places = placesOf(running, request.shards);
    return follow(
      (onChecked) =>
        places.map(({ shard, cursor }) => new ShardFollower(shard, cursor, { wanted, coalesceUs, signal }, onChecked)),
      { ...options, signal },
    );
  };
}

/** The shards that are asked for, with the cursors. Throws when one is named twice or does not run here. */
function placesOf(running: RunningShards, cursors: readonly ShardCursor[]): { shard: Shard; cursor: Cursor }[] {
  const seen = new Set<number>();
  return cursors.map((cursor, index) => {
    if (seen.has(cursor.shard)) {
      throw new FreshetError('INVALID_REQUEST', `shard ${cursor.shard} is named twice`, { place: `shards[${index}]` });
    }
    seen.add(cursor.shard);
    const shard = running.shard(cursor.shard);
    if (shard === undefined) {
      const here = running.shards.map((s) => s.shard).join(', ');
      throw new FreshetError('UNAVAILABLE', `shard ${cursor.shard} does not run here; running: ${here || 'none'}`, {
        place: `shards[${index}]`,
        remedy: 'look up which node has it, and try again',
      });
    }
    return { shard, cursor: decodeCursor(cursor, index) };
  });
}

function decodeCursor(cursor: ShardCursor, index: number): Cursor {
  const position = Number(cursor.position);
  const logId = toHex(cursor.logId);
  if (!Number.isSafeInteger(position) || (position > 0 && logId.length !== 32)) {
    throw new FreshetError('INVALID_REQUEST', 'the cursor is not one that this service gave', {
      place: `shards[${index}]`,
      remedy: 'start over with position 0',
    });
  }
  return { shard: cursor.shard, logId, position, recordCrc: cursor.recordCrc, views: cursor.views.map(toHex) };
}
