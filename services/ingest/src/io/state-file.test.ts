/**
 * Goal: with another log than the state was saved for, only what is true of the database is taken from it, and no generation is
 * used again; and what was loaded once no power cut takes back. Method: a state on a simulated disk, loaded for its log and for
 * another, and of a process that was killed while it saved.
 */
import { must } from '@freshet/kit/assert.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { expect, it } from 'vitest';
import { EMPTY_STATE, type RouteState, type SourceState } from '../core/source-state.ts';
import { StateFile } from './state-file.ts';

const ROUTE: RouteState = {
  route: 1,
  generation: 4,
  phase: 'live',
  fromLsn: 10n,
  stage: '',
  tableOid: 1,
  contractVersion: 1,
  contractLsn: 10n,
};
const STATE: SourceState = { ...EMPTY_STATE, systemId: 'a', acknowledgedLsn: 99n, routes: [ROUTE] };

it('F3: routes of another log begin in generations that none had before: held rows are of those', async () => {
  const files = new SimulatedDisk();
  await new StateFile(files, '/state.json', 'one').save(STATE);
  const same = await new StateFile(files, '/state.json', 'one').load();
  expect([same.routes.map(({ generation }) => generation), same.generationFloor]).toEqual([[4], 0]);
  const other = await new StateFile(files, '/state.json', 'two').load();
  expect([other.routes, other.generationFloor, other.acknowledgedLsn]).toEqual([[], 4, 99n]);
  // And so on, when that log is lost as well before anything began in it.
  await new StateFile(files, '/state.json', 'two').save(other);
  expect((await new StateFile(files, '/state.json', 'three').load()).generationFloor).toBe(4);
});

it('C1: a state that was loaded is not taken back by a power cut, though whoever saved it was killed before it was durable', async () => {
  const disk = new SimulatedDisk();
  await new StateFile(disk, '/state.json', 'one').save(EMPTY_STATE);
  const after: SimulatedDisk[] = [];
  let isRenamed = false;
  disk.step = ({ kind }, of) => {
    if (isRenamed && kind === 'syncDirectory' && after.length === 0) after.push(of.kill());
    isRenamed ||= kind === 'rename';
  };
  await expect(new StateFile(disk, '/state.json', 'one').save(STATE)).rejects.toThrow();
  const killed = must(after[0]);
  expect((await new StateFile(killed, '/state.json', 'one').load()).acknowledgedLsn).toBe(99n);
  const cut = killed.powerCut({ real: () => 0.999 });
  expect((await new StateFile(cut, '/state.json', 'one').load()).acknowledgedLsn).toBe(99n);
});
