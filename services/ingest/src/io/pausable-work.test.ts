/**
 * Goal: work that is paused stands still until it is resumed, and ends with its signal or its fault wherever it is.
 * Method: work that a test holds by hand.
 */
import { aborted } from '@freshet/kit/aborted.ts';
import { expect, it } from 'vitest';
import { PausableWork } from './pausable-work.ts';

it('stands still between pause and resume, and ends with the signal also while it is paused', async () => {
  const told: string[] = [];
  const work = new PausableWork(async (signal) => {
    told.push('begun');
    await aborted(signal);
    await Promise.resolve();
    told.push('ended');
  });
  const ending = new AbortController();
  const running = work.run(ending.signal);
  await work.pause();
  expect(told).toEqual(['begun', 'ended']);
  await new Promise(setImmediate);
  expect(told).toEqual(['begun', 'ended']);
  work.resume();
  await new Promise(setImmediate);
  expect(told).toEqual(['begun', 'ended', 'begun']);
  await work.pause();
  ending.abort();
  await running;
  expect(told).toEqual(['begun', 'ended', 'begun', 'ended']);
});

it('begins only when it is resumed, if it was paused before', async () => {
  let begun = 0;
  const work = new PausableWork(async (signal) => {
    begun += 1;
    await aborted(signal);
  });
  await work.pause();
  const ending = new AbortController();
  const running = work.run(ending.signal);
  await new Promise(setImmediate);
  expect(begun).toBe(0);
  work.resume();
  await new Promise(setImmediate);
  expect(begun).toBe(1);
  ending.abort();
  await running;
});

it('tells what the work throws to who runs it, not to who pauses it', async () => {
  const fault = new Error('a fault');
  const work = new PausableWork(async (signal) => {
    await aborted(signal);
    throw fault;
  });
  const running = work.run(new AbortController().signal);
  running.catch(() => {}); // looked at below
  await work.pause();
  await expect(running).rejects.toBe(fault);
});
