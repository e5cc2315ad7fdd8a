/**
 * Goal: with another log than the state was saved for, only what is true of the database is taken from it, and no generation is
 * used again. Method: a state on a simulated disk, loaded for its log and for another.
 */
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
