/** Goal: pages take a quarter of the time, however long each takes. Method: moments of a made-up clock. */
import { expect, it } from 'vitest';
import { PassPace } from './pass-pace.ts';

it('lets the first page be made at once, and rests three times as long as a page took', () => {
  const pace = new PassPace();
  expect(pace.freeAtUs).toBeLessThan(0);
  pace.worked(1_000, 3_000);
  expect(pace.freeAtUs).toBe(9_000);
});

it('R4: rests no longer than a tenth of a second for a page that waited for its disk', () => {
  const pace = new PassPace();
  pace.worked(0, 60_000_000);
  expect(pace.freeAtUs).toBe(60_100_000);
});
