/**
 * Goal: a new view over rows that are already in the log is folded in the shadow and served whole, and what was served
 * goes on being served meanwhile. Method: the real mesh under traffic; `freshet apply` with one view more; reads of the
 * old service all the while; the new view's values against SQL at the end, after a restart of compute.
 */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { startTraffic } from '../../examples/storefront/traffic.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { storefront } from '../support/storefront.ts';

const NEW_VIEW = `
---
kind: FeatureView
name: user_views
entity: user
source: user_activity
where: event_type == "view"
features:
  views_total: { count: {} }
  last_viewed: { last: product_id }
---
kind: FeatureService
name: interests
features: [user_views:*, user_clicks:click_count_total]
`;
const USERS = Array.from({ length: 200 }, (_, i) => BigInt(i + 1));

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest(await storefront());
}, 120_000);
afterAll(() => under?.close(), 60_000);

describe('a new view over an existing route', () => {
  it('R3: is served whole, from the beginning of the log, while the old service never stops', async () => {
    const signal = new AbortController().signal;
    const traffic = startTraffic(under.sql, 200, 5);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    let failedReads = 0;
    let reading = true;
    const reads = (async () => {
      while (reading) {
        await under.client.getFeatures({ service: 'user_profile', keys: { user_id: USERS } }).catch(() => {
          failedReads += 1;
        });
      }
    })();
    const file = join(under.directory, 'more.yaml');
    writeFileSync(file, (await storefront()).definitions + NEW_VIEW);
    const launcher = join(import.meta.dirname, '../../scripts/freshet.mjs');
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [
      launcher,
      'apply',
      file,
      '--yes',
      '--registry',
      under.mesh.addresses.registry,
    ]);
    expect(stdout + stderr).toMatch(/user_views/);
    // Apply returns when it is served: from now on every answer is whole.
    const first = await under.client.getFeatures({ service: 'interests', keys: { user_id: USERS } });
    const early =
      first.columns['user_views:views_total']?.values.reduce<bigint>((sum, n) => sum + (n as bigint), 0n) ?? 0n;
    expect(early).toBeGreaterThan(0n);
    reading = false;
    await reads;
    expect(failedReads).toBe(0);
    await under.mesh.kill('compute');
    await traffic.stop();
    await untilServed(under.sql, under.mesh.addresses, signal);
    const { columns } = await under.client.getFeatures({ service: 'interests', keys: { user_id: USERS } });
    const rows = await under.sql<{ n: string }[]>`
      SELECT (SELECT count(*) FROM user_activity a WHERE a.user_id = u AND event_type = 'view')::text AS n
      FROM unnest(${USERS.map(String)}::bigint[]) u ORDER BY u`;
    expect(columns['user_views:views_total']?.values.map(String)).toEqual(rows.map(({ n }) => n));
  }, 120_000);
});
