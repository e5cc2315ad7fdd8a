/** What each action of a plan does to the world. Owns nothing: a table of hands. */
import { must } from '@freshet/kit/assert.ts';
import { HEALTHY } from '@freshet/testkit/simulation/network.ts';
import { LOG_DIRECTORY } from './ingest-machine.ts';
import type { Action } from './plan.ts';
import type { World } from './world.ts';

const INGEST_BEHIND_US_MAX = 4_000_000;

/** Does it, notes that it had an effect, and undoes it when its time is over. */
export function act(world: World, action: Action): void {
  if (take(world, action)) world.note(`did: ${action.kind}`);
}

/** Whether there was anything to do it to. */
function take(world: World, action: Action): boolean {
  const later = (forUs: number, undo: () => void): void => world.scheduler.after(forUs, undo);
  switch (action.kind) {
    case 'commit':
      if (world.postgres.isAway) return false;
      world.postgres.commit(action.rows);
      return true;
    case 'change':
      if (world.postgres.isAway) return false;
      for (const what of world.postgres.commit(action.rows, action.statements)) world.note(`did: ${what}`);
      return true;
    case 'rewind': {
      const lost = world.postgres.rewind(world.scheduler.nowUs - action.byUs, action.keepsSlots);
      world.note(`a rewind lost ${lost === 0 ? 'nothing' : 'commits'}`);
      return true;
    }
    case 'drop-slot':
      world.postgres.dropSlots();
      return true;
    case 'rename':
      world.postgres.rename(true);
      later(action.forUs, () => world.postgres.rename(false));
      return true;
    case 'release':
      world.releaseHeld();
      return true;
    case 'rollback':
      world.postgres.rollback();
      return true;
    case 'define':
      world.define(action.set);
      return true;
    case 'kill':
      world.machine(action.machine).kill();
      later(action.forUs, () => world.machine(action.machine).start());
      return true;
    case 'power':
      world.powerOff(action.machine, action.keep);
      later(action.forUs, () => world.machine(action.machine).start());
      return true;
    case 'stop': {
      const { process } = world.machine(action.machine);
      if (process === undefined) return false;
      process.stop();
      later(action.forUs, () => process.resume());
      return true;
    }
    case 'slow': {
      const { process } = world.machine(action.machine);
      if (process === undefined) return false;
      process.slowness = action.times;
      later(action.forUs, () => {
        process.slowness = 1;
      });
      return true;
    }
    case 'cut': {
      const link = world.network.link(...action.link);
      link.cut = true;
      later(action.forUs, () => {
        link.cut = false;
      });
      return true;
    }
    case 'reset':
      return world.network.reset(...action.link) > 0;
    case 'lag': {
      const link = world.network.link(...action.link);
      link.delayUs = [action.us / 2, action.us];
      later(action.forUs, () => {
        // Not what it was before: that may be another lag, which is over by then, and nobody would end it again.
        link.delayUs = HEALTHY.delayUs;
      });
      return true;
    }
    case 'scramble': {
      const link = world.network.link(...action.link);
      const field = `${action.how}OneIn` as const;
      link[field] = 5;
      later(action.forUs, () => {
        link[field] = 0;
      });
      return true;
    }
    default:
      return takeOnDisk(world, action);
  }
}

type DiskAction = Extract<
  Action,
  {
    kind:
      | 'flip'
      | 'flip-file'
      | 'lie'
      | 'old-log'
      | 'lose-key'
      | 'old-row'
      | 'full'
      | 'clock'
      | 'checkpoint'
      | 'anew'
      | 'erase'
      | 'database-away'
      | 'database-silent';
  }
>;

function takeOnDisk(world: World, action: DiskAction): boolean {
  const later = (forUs: number, undo: () => void): void => world.scheduler.after(forUs, undo);
  switch (action.kind) {
    case 'flip':
      return damageStore(world, action, (directory, key, stores) => {
        stores.damage(directory, key, (sealed) => {
          const at = Math.floor(action.where * 997) % Math.max(1, sealed.length);
          if (sealed.length > 0) sealed[at] = (sealed[at] ?? 0) ^ (1 << (at & 7));
          return sealed;
        });
      });
    case 'flip-file': {
      const { files } = world.machine(action.machine);
      const paths = files.paths().filter((path) => files.content(path).length > 0);
      const path = paths[Math.floor(action.where * paths.length)];
      if (path === undefined) return false;
      const at = Math.floor(action.at * files.content(path).length);
      files.flip(path, at, 1 << (at & 7));
      world.breakDisk(action.machine, `flipped a bit of ${path.replaceAll(/\d+/g, 'N')}`);
      return true;
    }
    case 'lie': {
      const machine = world.machine(action.machine);
      machine.lies = true;
      later(action.forUs, () => {
        world.powerOff(action.machine, action.keep);
        machine.lies = false;
        later(100_000, () => machine.start());
      });
      return true;
    }
    case 'old-log': {
      const machine = world.machine('ingest');
      const pathsOfLog = (): string[] => machine.files.paths().filter((path) => path.startsWith(`${LOG_DIRECTORY}/`));
      const copy = pathsOfLog().map((path) => [path, machine.files.content(path)] as const);
      if (!copy.some(([path]) => path === `${LOG_DIRECTORY}/log.json`)) return false;
      later(action.afterUs, () => {
        machine.kill();
        for (const path of pathsOfLog()) machine.files.takeAway(path);
        for (const [path, content] of copy) machine.files.setContent(path, content);
        world.breakDisk('ingest', 'the log was put back to an older copy');
        later(100_000, () => machine.start());
      });
      return true;
    }
    case 'lose-key': {
      // At rest: what a running process reads of a block that lost its keys, LevelDB does not tell it.
      const machine = world.machine(action.machine);
      machine.kill();
      const isDone = damageStore(world, action, (directory, key, stores) => {
        stores.lose(directory, key, action.machine.startsWith('compute') || action.where < 0.5);
      });
      later(100_000, () => machine.start());
      return isDone;
    }
    case 'old-row': {
      const machine = world.machine(action.machine);
      machine.kill();
      const isDone = damageStore(world, action, (directory, key, stores) => {
        stores.revert(directory, key);
      });
      later(100_000, () => machine.start());
      return isDone;
    }
    case 'full': {
      const machine = world.machine(action.machine);
      machine.isFull = true;
      later(action.forUs, () => {
        machine.isFull = false;
      });
      return true;
    }
    case 'clock': {
      const { clock } = world.machine(action.machine);
      const skewUs = clock.skewUs + action.jumpUs;
      // An ingest node whose clock is behind by more than max_skew puts every row in quarantine, as it should.
      clock.skewUs = action.machine === 'ingest' ? Math.max(-INGEST_BEHIND_US_MAX, skewUs) : skewUs;
      return true;
    }
    case 'anew':
      world.readAnew();
      return true;
    case 'erase':
      world.erase(action);
      return true;
    case 'checkpoint':
      world.askCheckpoint(action.machine);
      return true;
    case 'database-away':
      world.postgres.goAway();
      later(action.forUs, () => world.postgres.comeBack());
      return true;
    default:
      world.postgres.isSilent = true;
      later(action.forUs, () => world.postgres.comeBack());
      return true;
  }
}

function damageStore(
  world: World,
  { machine, where }: { readonly machine: Parameters<World['machine']>[0]; readonly where: number },
  damage: (directory: string, key: string, stores: ReturnType<World['machine']>['stores']) => void,
): boolean {
  const { stores } = world.machine(machine);
  const { directories } = stores;
  if (directories.length === 0) return false;
  const directory = must(directories[Math.floor(where * directories.length)]);
  const keys = stores.keysOf(directory);
  if (keys.length === 0) return false;
  damage(directory, must(keys[Math.floor(((where * 31) % 1) * keys.length)]), stores);
  return true;
}
