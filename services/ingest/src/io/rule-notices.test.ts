/** Goal: rows that broke a rule and passed are told with their number, and no longer once there are no more of them. */
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { RuleNotices, type ToldRoute } from './rule-notices.ts';

it('tells and settles', async () => {
  const clock = new VirtualClock();
  const conditions = new ConditionBoard({ clock, log: silentLogger });
  const notices = new RuleNotices({ name: 'shop', clock, conditions });
  const route = (rows: number): ToldRoute => ({
    number: 1,
    source: 'orders',
    rules: { told: new Map([['positive', { rows, reason: 'amount >= 0 is false' }]]) },
  });
  notices.tell(route(2));
  expect(conditions.list()).toMatchObject([
    {
      id: 'source/shop/rule/1/positive',
      message: expect.stringMatching(/^2 rows of source orders broke rule positive/),
    },
  ]);
  await clock.advance(500_000_000);
  notices.tell(route(3));
  await clock.advance(500_000_000);
  notices.tell(route(3));
  notices.settle();
  expect(conditions.list()).toMatchObject([{ message: expect.stringMatching(/^3 rows/) }]);
  await clock.advance(101_000_000);
  notices.settle();
  expect(conditions.list()).toEqual([]);
});
