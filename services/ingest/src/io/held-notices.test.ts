/** Goal: whoever is told of a held table is told what ends it: of values that were computed anew, nothing where it ends by itself. */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import type { QuarantineReason } from '../core/quarantine.ts';
import { HeldNotices } from './held-notices.ts';

const place = { route: 1, generation: 1, lane: 2, major: 5n, minor: 1, part: 0 };

it.each<[QuarantineReason, SourceMode, RegExp, RegExp]>([
  ['values', SourceMode.APPEND, /freshet contract accept --yes.* --resync shop=/, /^Nothing:/],
  ['values', SourceMode.MUTABLE, /^Nothing: the table is read anew by itself/, /accept|resync/],
  ['shape', SourceMode.MUTABLE, /Adapt the definitions/, /^Nothing:/],
  ['identity', SourceMode.MUTABLE, /put the key back/, /^Nothing:/],
])('says what ends what is held for %s in mode %s, and no longer than it is so', (reason, mode, says, saysNot) => {
  const conditions = new ConditionBoard({ clock: new VirtualClock(), log: silentLogger });
  const notices = new HeldNotices({ name: 'shop', conditions });
  const hold = { isWhole: true } as never;
  const about = { route: 1, generation: 1, source: 'orders', table: 'shop/public.orders', contractVersion: 1 };
  const held = {
    ...about,
    hold,
    count: 1,
    bytes: 9,
    first: place,
    newest: place,
    reason,
    detail: '',
    sinceUs: 0,
    offset: 0,
  };
  notices.tell({ number: 1, mode }, held, undefined);
  const [told] = conditions.list();
  expect(told).toMatchObject({ id: 'source/shop/held/1' });
  expect(told?.remedy).toMatch(says);
  expect(told?.remedy).not.toMatch(saysNot);
  notices.tell({ number: 1, mode }, undefined, undefined);
  expect(conditions.list()).toEqual([]);
});
