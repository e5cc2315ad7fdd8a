/**
 * Goal: what is wrong is told for as long as it is wrong, in the log once at each change, and within bounds.
 * Method: a board with a clock moved by hand and a logger that keeps its lines.
 */
import { Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import { expect, it } from 'vitest';
import { ConditionBoard } from './conditions.ts';
import { FreshetError } from './errors.ts';
import { createLogger } from './logger.ts';

function board(): { board: ConditionBoard; clock: { us: number }; lines: { level: string; message: string }[] } {
  const clock = { us: 1_000_000 };
  const lines: { level: string; message: string }[] = [];
  const log = createLogger({ name: 't', write: (line) => lines.push(JSON.parse(line)) });
  return { board: new ConditionBoard({ clock: { nowUs: () => clock.us }, log }), clock, lines };
}

it('keeps the beginning and takes the newest text; the log hears of changes, not of wordings', () => {
  const { board: b, clock, lines } = board();
  const full = new FreshetError('DISK_FULL', '3 MiB are free', { remedy: 'make room', place: '/data' });
  b.raise('log/disk', full);
  clock.us += 5_000_000;
  b.raise('log/disk', { code: 'DISK_FULL', message: '2 MiB are free', remedy: 'make room', place: '/data' });
  expect(b.list()).toMatchObject([
    {
      id: 'log/disk',
      code: 'DISK_FULL',
      message: '2 MiB are free',
      remedy: 'make room',
      place: '/data',
      sinceUs: 1_000_000n,
      severity: Severity.WARNING,
    },
  ]);
  expect(lines).toMatchObject([
    { level: 'warn', message: '3 MiB are free', condition: 'log/disk', remedy: 'make room' },
  ]);
  b.raise('log/disk', { code: 'DISK_READ_ONLY', message: 'read-only' }, 'problem');
  expect(lines[1]).toMatchObject({ level: 'error', message: 'read-only' });
  expect(b.list()[0]?.sinceUs).toBe(1_000_000n);
  b.clear('log/disk');
  b.clear('log/disk');
  expect(lines[2]).toMatchObject({ level: 'info', message: 'over', was: 'read-only', heldMs: 5000 });
  expect(lines.length).toBe(3);
  expect(b.list()).toEqual([]);
});

it('clears all of a part at once', () => {
  const { board: b } = board();
  for (const id of ['shard/3/damaged', 'shard/3/lag', 'shard/30/lag']) b.raise(id, { code: 'INTERNAL', message: id });
  b.clearUnder('shard/3/');
  expect(b.list().map(({ id }) => id)).toEqual(['shard/30/lag']);
  expect(b.has('shard/30/lag')).toBe(true);
});

it('R4: holds a thousand, lists the worst two hundred, and says that there are more', () => {
  const { board: b, lines } = board();
  for (let i = 0; i < 1_500; i++) {
    b.raise(`c/${i}`, { code: 'INTERNAL', message: 'x'.repeat(10_000) }, i === 900 ? 'problem' : 'note');
  }
  const listed = b.list();
  expect(listed.length).toBe(200);
  expect(listed.map(({ id }) => id)).toContain('c/900');
  expect(listed.find(({ id }) => id === 'conditions/more')?.message).toContain('1000 conditions hold');
  expect(listed.every(({ message }) => message.length <= 2_000)).toBe(true);
  // What the board cannot hold is in the log all the same.
  expect(lines.length).toBe(1_500);
});
