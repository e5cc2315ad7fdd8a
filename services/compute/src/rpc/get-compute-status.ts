/** GetComputeStatus: what the shards are doing. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  GetComputeStatusResponseSchema,
  ShardStatusSchema,
  ViewBuildSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { type ConditionSchema, Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import { fromHex, toHex } from '@freshet/kit/hex.ts';
import type { NodeUpkeep } from '../core/node-upkeep.ts';
import type { Shard } from '../core/shard.ts';
import type { ShardSource } from '../core/shard-source.ts';
import { checkpointMessage } from './checkpoint-message.ts';
import type { ComputeHandlers, HandlerOptions } from './handlers.ts';

export function getComputeStatus(
  running: ShardSource,
  { clock, upkeep, partitions }: HandlerOptions,
): ComputeHandlers['getComputeStatus'] {
  return async ({ digests }) => ({
    ...(await computeStatus(running, { upkeep, partitions, digests })),
    nowUs: BigInt(clock.nowUs()),
  });
}

/** The status of a node. */
export async function computeStatus(
  running: ShardSource,
  { upkeep, partitions, digests }: Pick<HandlerOptions, 'upkeep' | 'partitions'> & { readonly digests: boolean },
): Promise<MessageInitShape<typeof GetComputeStatusResponseSchema>> {
  const shards: MessageInitShape<typeof ShardStatusSchema>[] = [];
  // One digest after the other: each reads all of a shard's state.
  for (const shard of running.shards) shards.push(await statusOf(shard, digests, upkeep));
  const conditions = [
    ...(upkeep?.conditionList ?? []),
    ...running.shards.flatMap(leftOut),
    ...running.shards.flatMap(beganLate),
  ];
  return { shards, partitions, conditions };
}

/** Rows left out are a condition for as long as the state lacks them. */
function leftOut({ shard, fold }: Shard): MessageInitShape<typeof ConditionSchema>[] {
  const { unknownContracts } = fold.stats();
  if (unknownContracts === 0) return [];
  return [
    {
      id: `shard/${shard}/contracts`,
      code: 'CONTRACT_BROKEN',
      message: `shard ${shard} left out ${unknownContracts} row(s): the log never told the contract that they name`,
      remedy: 'start ingest with --resync <database>=<a word not used before>, so that the rows are read anew',
      severity: Severity.PROBLEM,
    },
  ];
}

/** A shard that began where its log does now, for as long as views of it wait for their routes. */
function beganLate({ shard, fold }: Shard): MessageInitShape<typeof ConditionSchema>[] {
  if (fold.origin === 0) return [];
  const behind = fold.waitingForRoutes();
  const waiting = (fold.definitions?.views ?? []).filter(
    ({ viewId, route, joins }) =>
      [route, ...joins.map((join) => join.route)].some((of) => fold.routeGeneration(of) === 0) ||
      // Of the views on a route that is waited for, those that know their tables are whole.
      (behind.includes(route) && fold.completeAt(toHex(viewId)) === undefined),
  );
  if (fold.definitions !== undefined && waiting.length === 0) return [];
  const views = fold.definitions === undefined ? 'all views' : `${waiting.length} view(s)`;
  return [
    {
      id: `shard/${shard}/origin`,
      code: 'OFFSET_OUT_OF_RANGE',
      message: `shard ${shard} lost its state, and the log begins at ${fold.origin}: ${views} of it wait until their sources are read anew`,
      remedy:
        'nothing, if ingest can be reached: it is asked; else start it with --resync <database>=<a word not used before>',
      severity: Severity.PROBLEM,
    },
  ];
}

function buildsOf({ fold, views }: Shard): MessageInitShape<typeof ViewBuildSchema>[] {
  const positions = new Map(fold.builds().map(({ viewId, position }) => [viewId, position]));
  const generationOf = (viewId: string): number => fold.generationOf(viewId) ?? 0;
  return [
    ...views.building.map((viewId) => ({ viewId, generation: generationOf(viewId), successor: false })),
    ...fold.successors().map((next) => ({ ...next, successor: true })),
  ].map(({ viewId, generation, successor }) => ({
    viewId: fromHex(viewId),
    position: BigInt((successor ? undefined : positions.get(viewId)) ?? fold.position),
    generation,
    successor,
  }));
}

async function statusOf(
  shard: Shard,
  digests: boolean,
  upkeep: NodeUpkeep | undefined,
): Promise<MessageInitShape<typeof ShardStatusSchema>> {
  const digested = digests ? await shard.digest() : undefined;
  const { fold, head } = shard;
  const stats = fold.stats();
  return {
    shard: shard.shard,
    logId: fromHex(shard.logId),
    // A digest is of one position: with it, the status is of that position too.
    position: BigInt(digested?.position ?? head.position),
    logEnd: BigInt(shard.logEnd),
    committed: BigInt(digested?.position ?? shard.committed?.position ?? 0),
    logTimeUs: BigInt(head.logTimeUs),
    definitionsGeneration: BigInt(fold.generation),
    builds: buildsOf(shard),
    keys: BigInt(stats.keys),
    expiredEvents: BigInt(stats.expiredEvents),
    expressionErrors: BigInt(stats.expressionErrors),
    unknownContracts: BigInt(stats.unknownContracts),
    joinMisses: BigInt(stats.joinMisses),
    cacheBytes: BigInt(stats.cacheBytes),
    followers: shard.followers,
    checkpoints: (upkeep?.checkpoints(shard.shard) ?? []).map(checkpointMessage),
    repairs: upkeep?.repairs(shard.shard) ?? 0,
    scrubbedAtUs: BigInt(upkeep?.scrubbedAtUs(shard.shard) ?? 0),
    ...(digested === undefined ? {} : { digest: digested.digest }),
  };
}
