/**
 * Goal: definitions change under traffic and nobody is disturbed: a service goes over in one step, of two who apply at
 * once one is told what to do, applying the files of before brings the values of before, and rows of other views stay
 * as they are. Method: the real mesh; two views that mean something else under the same names, so that an answer of half
 * old and half new definitions shows in its numbers; reads all the while; the database's own counts at the end.
 */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { apply, plan } from '@freshet/cli/definitions.ts';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed, untilServing } from '../../examples/storefront/quiesce.ts';
import { startTraffic } from '../../examples/storefront/traffic.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { storefront } from '../support/storefront.ts';

/** What a count is multiplied with by the newer definitions: far more events than a user ever has. */
const MILLION = 1_000_000n;
const USERS = Array.from({ length: 200 }, (_, i) => BigInt(i + 1));
const signal = new AbortController().signal;

const view = (name: string, event: string, isNew: boolean): string => `
---
kind: FeatureView
name: ${name}
entity: user
source: user_activity
where: event_type == "${event}"
${isNew ? `derived: { million: user_id - user_id + ${MILLION} }\n` : ''}features:
  n: { ${isNew ? 'sum: million' : 'count: {}'} }
`;
const PAIR = `
---
kind: FeatureService
name: pair
features: ["left:n", "right:n"]
`;
/**
 * What `right` will be is there before, under another name: it could be read the moment that definitions change, while
 * `left` has to be built first.
 */
const pairOf = (isNew: boolean): string =>
  view('left', 'click', isNew) + view('right', 'view', isNew) + (isNew ? '' : view('spare', 'view', true)) + PAIR;
const THIRD = `
---
kind: FeatureView
name: third
entity: user
source: user_activity
features:
  last_page: { last: product_id }
`;

type Side = 'old' | 'new' | 'mixed';

let under: MeshUnderTest;
let shop = '';
beforeAll(async () => {
  const options = await storefront();
  shop = options.definitions;
  under = await startMeshUnderTest({ ...options, definitions: shop + pairOf(false) });
}, 120_000);
afterAll(() => under?.close(), 60_000);

async function applyByCommand(text: string): Promise<string> {
  const file = join(under.directory, 'next.yaml');
  writeFileSync(file, text);
  const launcher = join(import.meta.dirname, '../../scripts/freshet.mjs');
  const run = await promisify(execFile)(process.execPath, [
    launcher,
    'apply',
    file,
    '--yes',
    '--registry',
    under.mesh.addresses.registry,
  ]);
  return run.stdout + run.stderr;
}

/** By which definitions an answer was made: all its values are of one side, or it is mixed. */
function sideOf(values: readonly unknown[]): Side | undefined {
  const sides = new Set(
    values.flatMap((n) => (typeof n !== 'bigint' || n === 0n ? [] : [n >= MILLION ? 'new' : 'old'])),
  );
  if (sides.size === 0) return undefined;
  return sides.size > 1 ? 'mixed' : ([...sides][0] as Side);
}

/** Reads the pair and the profile until stopped. */
function startReading(): { readonly sides: Side[]; readonly problems: unknown[]; stop(): Promise<void> } {
  const sides: Side[] = [];
  const problems: unknown[] = [];
  const versions = new Map<string, number>();
  let reading = true;
  const run = (async () => {
    while (reading) {
      try {
        const pair = await under.client.getFeatures({ service: 'pair', keys: { user_id: USERS } });
        const side = sideOf(Object.values(pair.columns).flatMap((column) => [...column.values]));
        if (side !== undefined && sides.at(-1) !== side) sides.push(side);
        const profile = await under.client.getFeatures({
          service: 'user_profile',
          keys: { user_id: USERS },
          rowInfo: true,
        });
        for (const [name, rows] of Object.entries(profile.rows)) {
          rows.versions.forEach((version, user) => {
            const before = versions.get(`${name} ${user}`) ?? -1;
            if ((version ?? -1) < before)
              problems.push(`R2: ${name} of user ${user} went from ${before} to ${version}`);
            versions.set(`${name} ${user}`, version ?? -1);
          });
        }
      } catch (error) {
        problems.push(error);
      }
    }
  })();
  return {
    sides,
    problems,
    stop: async () => {
      reading = false;
      await run;
    },
  };
}

describe('definitions that change under traffic', () => {
  it('R3 R2: switch a service in one step, let one of two applies through, and go back', async () => {
    const traffic = startTraffic(under.sql, 200, 11);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const reading = startReading();
    const registry = createGrpcClient(RegistryService, under.mesh.addresses.registry);
    try {
      const first = parseDefinitions([{ path: 'a.yaml', text: shop + pairOf(true) }]);
      const second = parseDefinitions([{ path: 'b.yaml', text: shop + pairOf(true) + THIRD }]);
      const plans = [await plan(registry, first, signal), await plan(registry, second, signal)];
      const both = await Promise.allSettled([
        apply(registry, first, plans[0]!.planHash, { signal }),
        apply(registry, second, plans[1]!.planHash, { signal }),
      ]);
      const refused = both.filter((one) => one.status === 'rejected');
      expect(refused).toHaveLength(1);
      expect(refused[0]!.reason).toMatchObject({
        code: 'PLAN_OUTDATED',
        remedy: expect.stringContaining('plan again'),
      });
      // What the refused one is told to do works.
      await apply(registry, second, (await plan(registry, second, signal)).planHash, { signal });
      await untilServing(under.mesh.addresses, signal);
      expect(await applyByCommand(shop + pairOf(false))).toMatch(/left/);
    } finally {
      registry.close();
    }
    await traffic.stop();
    await untilServed(under.sql, under.mesh.addresses, signal);
    await reading.stop();
    expect(reading.problems).toEqual([]);
    expect(reading.sides).toEqual(['old', 'new', 'old']);
    const { columns } = await under.client.getFeatures({ service: 'pair', keys: { user_id: USERS } });
    const counts = await under.sql<{ clicks: string; views: string }[]>`
      SELECT count(*) FILTER (WHERE event_type = 'click')::text AS clicks,
             count(*) FILTER (WHERE event_type = 'view')::text AS views
      FROM unnest(${USERS.map(String)}::bigint[]) u LEFT JOIN user_activity a ON a.user_id = u GROUP BY u ORDER BY u`;
    expect(columns['left:n']?.values.map(String)).toEqual(counts.map(({ clicks }) => clicks));
    expect(columns['right:n']?.values.map(String)).toEqual(counts.map(({ views }) => views));
  }, 180_000);

  it('R1: leave the rows of other views as they are', async () => {
    const read = async (): Promise<unknown> => {
      const options = { service: 'user_profile', keys: { user_id: USERS }, rowInfo: true };
      const { columns, rows } = await under.client.getFeatures(options);
      return { rows, total: columns['user_clicks:click_count_total'], login: columns['user_logins:last_login_at'] };
    };
    const before = await read();
    await applyByCommand(shop + pairOf(true) + THIRD);
    await untilServed(under.sql, under.mesh.addresses, signal);
    expect(await read()).toEqual(before);
  }, 120_000);
});
