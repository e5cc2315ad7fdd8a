/**
 * npm start: a shop on a real Postgres, captured, folded, replicated and served by the whole mesh.
 *
 *     options ─▶ Postgres ─▶ shop's tables ─▶ mesh (registry, ingest, compute, serve) ─▶ features.yaml applied
 *                                                └▶ visitors + probes + live view ─▶ Ctrl-C or --seconds
 *     unattended: visitors stop ─▶ everything served ─▶ every value compared with SQL ─▶ one JSON line
 *
 * Everything is kept under --data-dir: starting again resumes. Ctrl-C stops all of it.
 */
import { join, resolve } from 'node:path';
import { type Mesh, startMesh } from '@freshet/cli/mesh/mesh.ts';
import { createFreshetClient, type FreshetClient } from '@freshet/client/freshet-client.ts';
import { isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { createLogger } from '@freshet/kit/logger.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import postgres, { type Sql } from 'postgres';
import { startLiveView } from './live-view.ts';
import { readOptions, type StorefrontOptions } from './options.ts';
import { startProbes } from './probe.ts';
import { untilServed, untilServing } from './quiesce.ts';
import { openShop } from './shop.ts';
import { startTraffic } from './traffic.ts';
import { verify } from './verify.ts';

interface Storefront {
  readonly sql: Sql;
  readonly mesh: Mesh;
  readonly client: FreshetClient;
  close(): Promise<void>;
}

async function open(options: StorefrontOptions, signal: AbortSignal): Promise<Storefront> {
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  const directory = resolve(options.dataDir);
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    let database: RunningPostgres | undefined;
    if (options.postgres === undefined) {
      say('Starting Postgres …');
      database = await startPostgres({ directory: join(directory, 'postgres') });
      closers.push(() => database?.stop() ?? Promise.resolve());
    }
    const url = options.postgres ?? database?.url ?? '';
    const sql = postgres(url, { max: 20, onnotice: () => {}, connect_timeout: 10 });
    closers.push(() => sql.end({ timeout: 2 }));
    await openShop(sql);
    say('Starting ingest, compute, serve and the registry …');
    const mesh = await startMesh({
      config: {
        dataDir: join(directory, 'mesh'),
        ports: options.ports,
        postgres: { default: url },
        definitions: [join(import.meta.dirname, 'features.yaml')],
      },
      log: createLogger({ name: 'storefront', level: 'warn' }),
      onLine: (role, line) => {
        if (options.verbose) say(`${role}: ${line}`);
      },
      signal,
    });
    closers.push(() => mesh.stop());
    await untilServing(mesh.addresses, signal);
    const client = createFreshetClient({ name: 'storefront', addresses: [mesh.addresses.serve] });
    closers.push(async () => client.close());
    say(`Serving on ${mesh.addresses.serve} (gRPC) and http://${mesh.addresses.serveHttp} (JSON).`);
    return { sql, mesh, client, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Lets visitors in until the signal or the time is over; then, if asked, proves that what is served is right. */
async function run(shop: Storefront, options: StorefrontOptions, signal: AbortSignal): Promise<number> {
  const failed = new AbortController();
  const traffic = startTraffic(shop.sql, options.rate, Date.now(), (error) => failed.abort(error));
  const probes = startProbes(shop.sql, shop.client, (error) => failed.abort(error));
  const view = startLiveView(shop.client, traffic, probes, process.stderr);
  const ends = [
    signal,
    failed.signal,
    ...(options.seconds === undefined ? [] : [AbortSignal.timeout(options.seconds * 1000)]),
  ];
  await Promise.race([aborted(AbortSignal.any(ends)), shop.mesh.done]);
  view.stop();
  await probes.stop();
  await traffic.stop();
  if (failed.signal.aborted) throw failed.signal.reason;
  if (signal.aborted || options.seconds === undefined) return 0;

  process.stderr.write('Comparing what is served with SQL …\n');
  await untilServed(shop.sql, shop.mesh.addresses, signal);
  const verdict = await verify(shop.sql, shop.client);
  for (const difference of verdict.differences) process.stderr.write(`${difference}\n`);
  const round = (ms: number): number => Math.round(ms * 1000) / 1000;
  const result = {
    commits: traffic.commits + probes.commits,
    events: traffic.events + probes.commits,
    freshnessMs: { p50: round(probes.freshness.percentile(0.5)), p99: round(probes.freshness.percentile(0.99)) },
    getMs: { p50: round(probes.reads.percentile(0.5)), p99: round(probes.reads.percentile(0.99)) },
    keysChecked: verdict.keysChecked,
    mismatches: verdict.mismatches,
  };
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${summary(result)}\n`);
  return verdict.mismatches === 0 ? 0 : 1;
}

function summary(result: { keysChecked: number; mismatches: number; commits: number; events: number }): string {
  const verdict = result.mismatches === 0 ? 'all equal to SQL' : `${result.mismatches} differ from SQL`;
  return `${result.commits} commits, ${result.events} events; ${result.keysChecked} keys checked: ${verdict}`;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(130);
      process.stderr.write('\nStopping …\n');
      controller.abort(new DOMException('asked to stop', 'AbortError'));
    });
  }
  let shop: Storefront | undefined;
  try {
    shop = await open(options, controller.signal);
    return await run(shop, options, controller.signal);
  } catch (error) {
    if (controller.signal.aborted && isAbort(error)) return 0;
    process.stderr.write(`${describe(error)}\n`);
    return 1;
  } finally {
    await shop?.close();
  }
}

function describe(error: unknown): string {
  if (!isFreshetError(error)) return error instanceof Error ? (error.stack ?? error.message) : String(error);
  const each = [error, ...error.also].map((e) =>
    [e.place, e.message, e.remedy && `→ ${e.remedy}`].filter(Boolean).join('\n  '),
  );
  return each.join('\n');
}

process.exitCode = await main();
