/** Reads some rows' versions over and over and notes any that goes back, or is not answered, within one life of the serve process. */
import { setTimeout as pause } from 'node:timers/promises';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import type { MeshUnderTest } from './mesh-under-test.ts';

export interface VersionWatch {
  readonly reads: number;
  /** Reads that a serve process refused that had answered before and did not die of it, in words; being late is no refusal. */
  readonly refused: readonly string[];
  /** Ends the watch; what went back, in words. */
  stop(): Promise<string[]>;
}

const DEATH_SHOWS_MS = 500;
const USERS = Array.from({ length: 20 }, (_, i) => BigInt(i + 1));

export interface VersionWatchOptions {
  /** Whether a row may go: its windows are over, or its source's rows are. One that comes back must be newer still. */
  readonly rowsMayGo?: boolean;
}

export function watchVersions(under: MeshUnderTest, { rowsMayGo = false }: VersionWatchOptions = {}): VersionWatch {
  const client = createGrpcClient(ServeService, under.mesh.addresses.serve, { deadlineMs: 2_000 });
  const wentBack: string[] = [];
  const refused: string[] = [];
  const state = { reads: 0, stopped: false };
  const run = (async () => {
    let life = -1;
    let seen = new Map<string, bigint>();
    while (!state.stopped) {
      const before = under.mesh.pid('serve') ?? -1;
      try {
        const { rows } = await client.getFeatures({
          service: 'user_profile',
          rowInfo: true,
          keys: [{ name: 'user_id', values: { case: 'int64s', value: { values: USERS } } }],
        });
        // An answer counts for a life only if that life lasted over the whole call.
        const after = under.mesh.pid('serve') ?? -1;
        if (before !== -1 && before === after) {
          if (life !== after) seen = new Map();
          life = after;
          state.reads += 1;
          for (const { view, versionsPlusOne } of rows) {
            versionsPlusOne.forEach((version, i) => {
              const name = `${view} of user ${USERS[i]}`;
              if (version === 0n && rowsMayGo) return;
              const last = seen.get(name) ?? 0n;
              if (version < last) wentBack.push(`${name}: ${last} then ${version}`);
              seen.set(name, version);
            });
          }
        }
      } catch (error) {
        if (!isFreshetError(error)) throw error;
        // The node is down between two lives, which may show in the call before it shows in its number.
        await pause(DEATH_SHOWS_MS);
        const isAlive = before !== -1 && before === under.mesh.pid('serve');
        if (isAlive && life === before && error.code !== 'DEADLINE_EXCEEDED')
          refused.push(`${error.code}: ${error.message}`);
      }
      await pause(10);
    }
  })();
  return {
    get reads() {
      return state.reads;
    },
    refused,
    stop: async () => {
      state.stopped = true;
      await run;
      client.close();
      return wentBack;
    },
  };
}
