/**
 * npm run soak -- simulate: runs seeds, tells the first that fails, replays and shrinks it.
 *
 *     --seeds 10000            that many seeds, from --from on, over --jobs processes
 *     --seed 4711              one seed, again: the same to the last event
 *     --shrink                 and then with as few actions as still make it fail
 *     --broken NAME | all      against a build that is broken on purpose: success is that it is caught
 */
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { BROKEN_BUILDS } from './broken-builds.ts';
import { makePlan, type Plan } from './plan.ts';
import { shrink } from './shrink.ts';
import { FAULTS, RECOVERIES, unseen } from './sometimes.ts';
import { type Verdict, World } from './world.ts';

const SHRINK_TRIES = 400;
const PROGRESS_MS = 5_000;

interface Failure {
  readonly seed: number;
  readonly wrong: string;
}

interface Tally {
  seeds: number;
  steps: number;
  records: number;
  rowsChecked: number;
  seconds: number;
  readonly failures: Failure[];
  readonly seen: Record<string, number>;
}

function emptyTally(): Tally {
  return { seeds: 0, steps: 0, records: 0, rowsChecked: 0, seconds: 0, failures: [], seen: {} };
}

function add(tally: Tally, seed: number, verdict: Verdict): void {
  tally.seeds += 1;
  tally.steps += verdict.steps;
  tally.records += verdict.records;
  tally.rowsChecked += verdict.rowsChecked;
  tally.seconds += verdict.seconds;
  if (verdict.wrong !== undefined) tally.failures.push({ seed, wrong: verdict.wrong });
  for (const [what, times] of verdict.seen) tally.seen[what] = (tally.seen[what] ?? 0) + times;
}

function merge(into: Tally, from: Tally): void {
  into.seeds += from.seeds;
  into.steps += from.steps;
  into.records += from.records;
  into.rowsChecked += from.rowsChecked;
  into.seconds += from.seconds;
  into.failures.push(...from.failures);
  for (const [what, times] of Object.entries(from.seen)) into.seen[what] = (into.seen[what] ?? 0) + times;
}

/** Runs some seeds in this process; with `stopAtFailure` no further than the first that fails. */
async function runSeeds(
  seeds: readonly number[],
  stopAtFailure: boolean,
  onProgress: (tally: Tally) => void,
): Promise<Tally> {
  const tally = emptyTally();
  for (const seed of seeds) {
    add(tally, seed, await new World(makePlan(seed)).run());
    onProgress(tally);
    if (stopAtFailure && tally.failures.length > 0) break;
  }
  return tally;
}

interface Options {
  readonly seeds: number;
  readonly from: number;
  readonly seed?: number | undefined;
  readonly jobs: number;
  readonly shrink: boolean;
  readonly broken?: string | undefined;
  readonly verbose: boolean;
  readonly json: boolean;
}

const say = (text: string): void => void process.stderr.write(`${text}\n`);

/**
 * After so many seeds a process is replaced, to be sure of its memory. A young one costs: until its code is compiled a
 * seed takes twice as long.
 */
const SEEDS_A_PROCESS = 1000;
/** Of young garbage: runs make much of it, and little that stays. */
const YOUNG_MIB = 64;

/** Spreads seeds over processes, each of which may run a broken build. */
async function spread(options: Options, broken: string | undefined): Promise<Tally> {
  const total = emptyTally();
  let told = performance.now();
  const isCaught = (): boolean => broken !== undefined && total.failures.length > 0;
  const onTally = (tally: Tally): void => {
    merge(total, tally);
    if (broken === undefined)
      for (const { seed, wrong } of tally.failures) say(`seed ${seed}: ${wrong.split('\n')[0]}`);
    if (isCaught()) for (const child of children) child.kill('SIGKILL');
    if (broken === undefined && performance.now() - told > PROGRESS_MS) {
      told = performance.now();
      say(`${total.seeds} of ${options.seeds} seeds, ${total.failures.length} failed`);
    }
  };
  const runJob = async (job: number): Promise<void> => {
    const all = Array.from({ length: options.seeds }, (_, i) => options.from + i);
    const seeds = all.filter((seed) => seed % options.jobs === job);
    for (let at = 0; at < seeds.length && !isCaught(); at += SEEDS_A_PROCESS)
      await runProcess(seeds.slice(at, at + SEEDS_A_PROCESS), broken, onTally);
  };
  await Promise.all(Array.from({ length: options.jobs }, (_, job) => runJob(job)));
  return total;
}

/** Runs seeds in a process of their own; resolves when it ended, rejects when it failed. */
function runProcess(
  seeds: readonly number[],
  broken: string | undefined,
  onTally: (tally: Tally) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = fork(import.meta.filename, ['worker'], {
      env: { ...process.env, ...(broken === undefined ? {} : { FRESHET_BROKEN_BUILD: broken }) },
      execArgv: [`--max-semi-space-size=${YOUNG_MIB}`, '--import', join(import.meta.dirname, 'break.ts')],
    });
    children.add(child);
    child.send({ seeds, stopAtFailure: broken !== undefined });
    child.on('message', onTally);
    child.on('exit', (code, signal) => {
      children.delete(child);
      if (code === 0 || signal === 'SIGKILL') resolve();
      else reject(new Error(`a worker ended with ${code ?? signal}`));
    });
  });
}

const children = new Set<ReturnType<typeof fork>>();

function work(): void {
  process.once('message', ({ seeds, stopAtFailure }: { seeds: number[]; stopAtFailure: boolean }) => {
    void (async () => {
      for (let at = 0; at < seeds.length; at += 5) {
        const tally = await runSeeds(seeds.slice(at, at + 5), stopAtFailure, () => undefined);
        process.send?.(tally);
        if (stopAtFailure && tally.failures.length > 0) break;
      }
      process.disconnect();
    })();
  });
}

async function one(seed: number, options: Options): Promise<number> {
  const plan = makePlan(seed);
  const verdict = await new World(plan).run();
  say(`seed ${seed}: ${verdict.wrong ?? 'nothing wrong'}`);
  say(`${verdict.seconds.toFixed(1)} simulated seconds, ${verdict.steps} events, trace ${verdict.trace}`);
  if (options.verbose)
    for (const [what, times] of [...verdict.seen].sort(([a], [b]) => (a < b ? -1 : 1)))
      say(`${String(times).padStart(7)}  ${what}`);
  if (verdict.wrong === undefined) return 0;
  if (options.shrink) await makeSmaller(plan);
  return 1;
}

async function makeSmaller(plan: Plan): Promise<void> {
  const run = async (candidate: Plan): Promise<string | undefined> => (await new World(candidate).run()).wrong;
  const kind = kindOf(await run(plan));
  // A smaller plan that fails in another way is another failure.
  const fails = async (candidate: Plan): Promise<boolean> => kindOf(await run(candidate)) === kind;
  const smallest = await shrink(plan, fails, SHRINK_TRIES, (smaller, tried) =>
    say(`${smaller.actions.length} actions after ${tried} tries`),
  );
  const { wrong } = await new World(smallest).run();
  const file = `simulation-${plan.seed}.json`;
  writeFileSync(file, `${JSON.stringify(smallest, undefined, 1)}\n`);
  say(`the smallest that fails (${file}): ${wrong}`);
  for (const { atUs, action } of smallest.actions) say(`  ${(atUs / 1e6).toFixed(3)} s  ${JSON.stringify(action)}`);
}

/** What kind of failure it is: the invariant, or the first words; of what is never served, what that is. */
function kindOf(wrong: string | undefined): string | undefined {
  return wrong === undefined
    ? undefined
    : (/\b[A-Z]\d(?=:)|does not converge(, and tells of no loss)?: (edge-\d: )?[a-z]+|broke a promise/.exec(
        wrong,
      )?.[0] ?? 'other');
}

async function catchBroken(options: Options): Promise<number> {
  const wanted = BROKEN_BUILDS.filter(({ name }) => options.broken === 'all' || options.broken === name);
  if (wanted.length === 0) throw new Error(`there is no broken build ${options.broken}`);
  let missed = 0;
  for (const { name, about } of wanted) {
    const { seeds, failures } = await spread(options, name);
    const [caught] = failures;
    if (caught === undefined) missed += 1;
    const verdict =
      caught === undefined ? 'NOT caught' : `caught by seed ${caught.seed}: ${caught.wrong.split('\n')[0]}`;
    if (options.json) process.stdout.write(`${JSON.stringify({ broken: name, seeds, caught })}\n`);
    else say(`${name} (${about}): ${verdict}`);
  }
  return missed === 0 ? 0 : 1;
}

async function many(options: Options): Promise<number> {
  const tally = await spread(options, undefined);
  const never = unseen([...FAULTS, ...RECOVERIES], Object.keys(tally.seen));
  const { seeds, steps, records, rowsChecked, seconds, failures } = tally;
  if (options.json) {
    const simulatedHours = Math.round(seconds / 360) / 10;
    process.stdout.write(
      `${JSON.stringify({ seeds, failed: failures.length, simulatedHours, steps, records, rowsChecked, unseen: never, failures: failures.slice(0, 20) })}\n`,
    );
  } else {
    for (const { seed, wrong } of failures.slice(0, 20)) say(`seed ${seed}: ${wrong.split('\n')[0]}`);
    say(
      `${seeds} seeds, ${failures.length} failed; ${(seconds / 3600).toFixed(1)} simulated hours, ${records} records`,
    );
    for (const path of never) say(`never happened: ${path}`);
  }
  return failures.length === 0 && never.length === 0 ? 0 : 1;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('expected a whole number');
  return value;
}

if (process.argv[2] === 'worker') work();
else {
  const program = new Command('npm run soak -- simulate')
    .description('Runs whole meshes in one process under simulated faults, by seed.')
    .option('--seeds <n>', 'how many seeds', whole, 1000)
    .option('--from <seed>', 'the first seed', whole, 1)
    .option('--seed <seed>', 'this one seed, in this process', whole)
    .option('--shrink', 'with --seed: find the fewest actions that still fail', false)
    .option('--jobs <n>', 'processes', whole, 2)
    .option('--broken <name>', 'a build that is broken on purpose, or all')
    .option('--verbose', 'with --seed: what happened, and how often', false)
    .option('--json', 'one JSON line', false)
    .parse();
  const options = program.opts<Options>();
  if (options.seed !== undefined) process.exitCode = await one(options.seed, options);
  else process.exitCode = await (options.broken === undefined ? many(options) : catchBroken(options));
}
