/**
 * Goal: definitions that a node has loaded are those that it has after a power cut, whatever ended the process that saved them.
 * Method: a process that is killed between the rename of the file and the sync of its directory, on a simulated disk.
 */
import { create } from '@bufbuild/protobuf';
import { DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { expect, it } from 'vitest';
import { NodeFiles } from './node-files.ts';

it('keeps the definitions that it has loaded through a power cut', async () => {
  const on = (files: SimulatedDisk): NodeFiles => new NodeFiles(files, '/n', silentLogger);
  const disk = new SimulatedDisk();
  await on(disk).saveDefinitions(create(DefinitionSetSchema, { generation: 1n }));
  const kills: SimulatedDisk[] = [];
  let isRenamed = false;
  disk.step = ({ kind }, of) => {
    if (isRenamed && kind === 'syncDirectory' && kills.length === 0) kills.push(of.kill());
    isRenamed ||= kind === 'rename';
  };
  await expect(on(disk).saveDefinitions(create(DefinitionSetSchema, { generation: 2n }))).rejects.toThrow();
  const killed = must(kills[0]);
  expect((await on(killed).definitions())?.generation).toBe(2n);
  expect((await on(killed.powerCut({ real: () => 0.999 })).definitions())?.generation).toBe(2n);
});
