/**
 * The digest of a shard's state: SHA-256 over the position, the definitions, the routes' marks, and, of the views that
 * are complete, every row of the tables that they join, every key state by key and then every contribution by key, row
 * hash and offset. Instances that stand still are not in it: whether there is one depends on whether a build was
 * done in time, and nothing is folded into them any more.
 *
 * Invariant F1: it is the same for the same prefix of the log, whatever the batches, commits, evictions, sweeps and
 * machines; except that a view enters it when its build is complete, which depends on how fast the build was. So it passes
 * over dead states and contributions out of reach, which may or may not have been swept; and over how contributions lie in
 * leaves and what number an instance has (a build numbers a fresh one when it meets a truncation).
 */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { type FoldMeta, FoldMetaSchema, RouteStateSchema } from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import { DefinitionSetSchema, type ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { keyBytes } from '@freshet/values/key.ts';
import { sha256 } from '@noble/hashes/sha2.js';
import { endOf, readEventTime } from '../contributions/contribution.ts';
import { decodeNode, encodeLeaf, parseKey } from '../contributions/node-codec.ts';
import type { ColdState } from '../shard-fold.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { isDeadState, isHeld, type ViewReach, viewReach } from '../state/reach.ts';
import { encodeState } from '../state/state-codec.ts';
import { featureGroups } from '../state/view-plan.ts';
import type { Force } from './force.ts';
import { contributionsName, instanceName } from './instance-name.ts';
import { mergedKeys, mergedRows } from './merged-keys.ts';
import { tableRowsIdentity, tableRowsName } from './table-name.ts';
import { TableRows } from './table-rows.ts';

export interface StateDigest {
  /**
   * What is stored, by (instance, key) ascending, contributions under their own names; what belongs to no instance that is
   * complete in the meta is passed over.
   */
  add(instance: string, key: string, stored: Uint8Array): void;
  /** The 32 bytes. */
  finish(): Uint8Array;
}

/** A digest of what is stored with the meta of one commit. */
export function createStateDigest(meta: Uint8Array): StateDigest {
  return digestOf(fromBinary(FoldMetaSchema, meta));
}

/** The digest of a fold as it is in memory and in its cold store. */
export function digestInstances(meta: FoldMeta, force: Force, cold: ColdState): Uint8Array {
  const digest = digestOf(meta);
  const writer = new ByteWriter();
  const tables = force.tables.all().flatMap((table) => [...table.rows()]);
  const complete = [...force.instances()].filter(
    ({ completeAt, standing }) => completeAt !== undefined && standing === undefined,
  );
  for (const instance of [...tables, ...complete].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (instance instanceof TableRows) {
      for (const [key, row] of mergedRows(instance, cold)) digest.add(instance.name, key, row);
      continue;
    }
    for (const key of mergedKeys(instance, cold)) {
      const state = must(instance.cache.peek(key), 'a key has no state');
      digest.add(instance.name, key, encodeState(writer, instance.view, state));
    }
    const { contributionsName, mutable } = instance;
    if (contributionsName === undefined || mutable === undefined) continue;
    for (const [key, { version, bounds, leaf }] of mutable.tree.nodes.all()) {
      if (bounds === undefined) digest.add(contributionsName, key, encodeLeaf(writer, version, leaf));
    }
  }
  return digest.finish();
}

/** What the digest knows of a complete view's instance. */
interface Digested {
  readonly viewId: string;
  readonly reach: ViewReach;
  readonly isContributions: boolean;
  /** As in ViewInstance. */
  readonly versionsFrom: bigint;
}

function digestOf(meta: FoldMeta): StateDigest {
  const sha = sha256.create();
  const length = new DataView(new ArrayBuffer(8));
  const part = (bytes: Uint8Array): void => {
    length.setBigUint64(0, BigInt(bytes.length));
    sha.update(new Uint8Array(length.buffer));
    sha.update(bytes);
  };
  const numbers = new DataView(new ArrayBuffer(24));
  numbers.setBigUint64(0, meta.position);
  numbers.setBigInt64(8, meta.logTimeUs);
  numbers.setUint32(16, meta.recordCrc);
  part(new Uint8Array(numbers.buffer));
  part(meta.definitions);
  for (const route of meta.routes) part(toBinary(RouteStateSchema, route));
  const plans = fromBinary(DefinitionSetSchema, meta.definitions).views;
  const tables = tableIdentities(meta, plans);
  for (const identity of tables.values()) part(keyBytes(identity));
  const complete = completeInstances(meta, plans);
  for (const { viewId, isContributions, versionsFrom } of complete.values()) {
    if (isContributions) continue;
    part(keyBytes(viewId));
    numbers.setBigUint64(0, versionsFrom);
    // One without has the digest that it had before there were any: checkpoints name digests.
    if (versionsFrom > 0n) part(new Uint8Array(numbers.buffer.slice(0, 8)));
  }
  const logTimeUs = Number(meta.logTimeUs);
  let before: string | undefined;
  return {
    add(instance, key, stored) {
      const place = `${instance}${key}`;
      assert(before === undefined || before < place, 'F1: states are digested out of order');
      before = place;
      const table = tables.get(instance);
      if (table !== undefined) for (const bytes of [keyBytes(table), keyBytes(key), stored]) part(bytes);
      const digested = complete.get(instance);
      if (digested === undefined) return;
      const { viewId, reach } = digested;
      if (digested.isContributions) {
        for (const contribution of held(reach, stored, logTimeUs)) {
          part(keyBytes(viewId));
          part(keyBytes(parseKey(key).entityKey));
          part(contribution);
        }
      } else if (!isDeadState(reach, stored, logTimeUs)) {
        part(keyBytes(viewId));
        part(keyBytes(key));
        part(stored);
      }
    },
    finish: () => sha.digest(),
  };
}

/**
 * What the rows of the live fold's tables are digested under, by the name that they are stored under. A table comes with
 * the complete views that join it: whether it is there before depends on whether a build was done.
 */
function tableIdentities({ tables, views }: FoldMeta, plans: readonly ViewPlan[]): Map<string, string> {
  const complete = new Set(
    views.flatMap(({ viewId, completeAt, standing }) =>
      completeAt === undefined || standing !== undefined ? [] : [toHex(viewId)],
    ),
  );
  const joined = plans.flatMap(({ viewId, joins }) => (complete.has(toHex(viewId)) ? joins.map((j) => j.route) : []));
  const names = tables
    .filter(({ route }) => joined.includes(route))
    .map(({ route, began, owner }) => tableRowsName({ route, began: Number(began), owner }));
  return new Map(names.map((name) => [name, tableRowsIdentity(name)]));
}

/** By the name that their states or contributions are stored under, in the order of view ids. */
function completeInstances(meta: FoldMeta, plans: readonly ViewPlan[]): Map<string, Digested> {
  const reaches = new Map(plans.map((plan) => [toHex(plan.viewId), viewReach(plan, featureGroups(plan.features))]));
  const complete = new Map<string, Digested>();
  for (const { viewId: id, instance, completeAt, standing, versionsFrom } of meta.views) {
    if (completeAt === undefined || standing !== undefined) continue;
    const viewId = toHex(id);
    const reach = must(reaches.get(viewId), 'a commit holds a view that its definitions do not');
    complete.set(instanceName(id, instance), { viewId, reach, isContributions: false, versionsFrom });
    complete.set(contributionsName(id, instance), { viewId, reach, isContributions: true, versionsFrom });
  }
  return complete;
}

/** The contributions of a leaf that count at the log time, as bytes; none of a directory. */
function* held(reach: ViewReach, stored: Uint8Array, logTimeUs: number): Generator<Uint8Array> {
  const { bytes, length } = decodeNode(stored).leaf;
  for (let at = 0; at < length; ) {
    const end = endOf(bytes, at);
    if (isHeld(reach, readEventTime(bytes, at), logTimeUs)) yield bytes.subarray(at, end);
    at = end;
  }
}
