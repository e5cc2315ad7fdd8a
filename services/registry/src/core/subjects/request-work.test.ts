/**
 * Goal: a request neither works nor waits without end, however many pieces it has. Method: threads that are only counted, and a
 * clock of the test's.
 */
import { describe, expect, it } from 'vitest';
import { RequestWork, WorkNeeded } from './request-work.ts';
import type { Engines, ParsedCache, SchemaWork, SchemaWorkers } from './schema-work.ts';

/** Threads of which each piece is had after so long a wait. */
function waiting(ms: number): {
  readonly clock: { monotonicUs(): number };
  readonly workers: SchemaWorkers;
  pieces: number;
} {
  let nowUs = 0;
  const world = {
    pieces: 0,
    clock: { monotonicUs: () => nowUs },
    workers: {
      run: async () => {
        world.pieces += 1;
        nowUs += (ms + 1) * 1_000;
        return { result: [] as never, tookMs: 1 };
      },
    } as SchemaWorkers,
  };
  return world;
}

function* pieces(): Generator<SchemaWork> {
  for (let i = 0; ; i++) {
    const source = { type: 'AVRO' as const, checkDefaults: false, referred: '', text: String(i), references: [] };
    yield { kind: 'READ', source } as unknown as SchemaWork;
  }
}

describe('the work of a request', () => {
  it.each([
    ['that waits long for each piece is refused once it waited for half a minute', 5_000, 50302, 6],
    ['that waits for nothing is refused once its time is over', 0, 42209, 100],
  ])('%s', async (_, waitMs, code, count) => {
    const world = waiting(waitMs);
    const nothing = {} as Engines & ParsedCache;
    const options = { engines: nothing, cache: nothing, judgingMs: 100, atOnceCharacters: 0, ...world };
    const work = new RequestWork(options);
    await expect(work.supply(new WorkNeeded(pieces()))).rejects.toMatchObject({ code });
    expect(world.pieces).toBe(count);
  });

  it('is done elsewhere when little text is asked much of', () => {
    const nothing = {} as Engines & ParsedCache;
    const options = { engines: nothing, cache: nothing, judgingMs: 100, atOnceCharacters: 16_384, ...waiting(0) };
    const source = { type: 'AVRO' as const, checkDefaults: false, referred: '', text: '"int"', references: [] };
    const names = Array.from({ length: 5_000 }, (_, at) => `n${at}`);
    const change = { path: 'p', kind: 'sr_field' as const };
    for (const ask of [
      (work: RequestWork) => work.findFields({ ...source, characters: 5 }, names),
      (work: RequestWork) => work.changeTags({ ...source, characters: 5 }, [{ ...change, add: names, remove: [] }]),
      (work: RequestWork) => work.changeTags({ ...source, characters: 5 }, [{ ...change, add: [], remove: names }]),
    ])
      expect(() => ask(new RequestWork(options))).toThrow(WorkNeeded);
  });
});
