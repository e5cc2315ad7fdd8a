/**
 * What the terminal shows while the shop is open: redrawn in place on a terminal, a line every few seconds elsewhere.
 */
import type { FreshetClient } from '@freshet/client/freshet-client.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import type { Probes } from './probe.ts';
import type { Traffic } from './traffic.ts';

const WATCHED = [1n, 2n, 5n, 20n, 100n];
const REDRAW_MS = 500;
const LINE_MS = 5_000;

export interface LiveView {
  stop(): void;
}

export function startLiveView(
  client: FreshetClient,
  traffic: Traffic,
  probes: Probes,
  out: NodeJS.WriteStream,
): LiveView {
  const terminal = out.isTTY === true;
  const startedAt = performance.now();
  let drawn = 0;
  let previous = { events: 0, at: startedAt };
  let stopped = false;

  const draw = async (): Promise<void> => {
    const now = performance.now();
    const rate = ((traffic.events - previous.events) / (now - previous.at)) * 1000;
    previous = { events: traffic.events, at: now };
    const summary =
      `${Math.round((now - startedAt) / 1000)} s   ${traffic.commits} commits   ${Math.round(rate)} events/s   ` +
      `commit to served p50 ${ms(probes.freshness.percentile(0.5))} p99 ${ms(probes.freshness.percentile(0.99))}   ` +
      `GetFeatures p50 ${ms(probes.reads.percentile(0.5))} p99 ${ms(probes.reads.percentile(0.99))}`;
    if (!terminal) {
      out.write(`${summary}\n`);
      return;
    }
    const table = await watchedUsers(client);
    if (stopped) return;
    const lines = [summary, '', ...table, '', 'Ctrl-C stops everything; npm start resumes.'];
    out.write(`${drawn > 0 ? `\x1b[${drawn}A` : ''}${lines.map((line) => `\x1b[2K${line}`).join('\n')}\n`);
    drawn = lines.length;
  };
  // A draw that fails (the mesh is going down) is simply not drawn; the probes report what is wrong.
  const timer = setInterval(() => void draw().catch(() => undefined), terminal ? REDRAW_MS : LINE_MS);
  return {
    stop: () => {
      stopped = true;
      clearInterval(timer);
    },
  };
}

async function watchedUsers(client: FreshetClient): Promise<string[]> {
  const { columns } = await client.getFeatures({ service: 'user_profile', keys: { user_id: WATCHED } });
  const shown = [
    'user_clicks:click_count_10s',
    'user_clicks:click_count_5min',
    'user_spend:spend_1h',
    'user_spend:orders_1h',
    'user_logins:last_login_at',
  ];
  const header = ['user', ...shown.map((name) => name.split(':')[1] ?? name)];
  const rows = WATCHED.map((user, i) => [String(user), ...shown.map((name) => cell(name, columns[name]?.values[i]))]);
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map((row) => row[column]?.length ?? 0)));
  return [header, ...rows].map((row) => row.map((text, column) => text.padStart(widths[column] ?? 0)).join('   '));
}

function cell(name: string, value: Scalar | undefined): string {
  if (value === null || value === undefined) return '-';
  if (name.endsWith('_at') && typeof value === 'bigint')
    return new Date(Number(value / 1000n)).toISOString().slice(11, 23);
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}
