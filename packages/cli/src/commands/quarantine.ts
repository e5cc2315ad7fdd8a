/**
 * freshet quarantine: look at rows that were put aside, release them, drop them.
 *
 * Owns how it is called and what it shows. What becomes of rows is ingest's.
 */
import { type MessageInitShape, toJson } from '@bufbuild/protobuf';
import {
  type HeldTable,
  ListQuarantineResponseSchema,
  type NameMappingSchema,
  type QuarantinedRow,
  QuarantineService,
} from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import { RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { type Command, InvalidArgumentError } from 'commander';
import { liveNodes } from '../mesh-nodes.ts';
import { askFirst } from '../output/ask-first.ts';
import { table } from '../output/table.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { countText, timestampText } from '../output/values.ts';

type Mapping = MessageInitShape<typeof NameMappingSchema>;
interface Shared {
  readonly registry: string;
  readonly json?: boolean;
}

const DEADLINE_MS = 60_000;
const DISCARD_ASK = { command: 'freshet.quarantine.discard', undone: 'nothing was dropped' };
/** A release may take long; Ctrl-C ends the looking on. */
const RELEASE_MS = 24 * 3_600_000;

/** Adds the command with its subcommands. */
export function addQuarantine(program: Command, terminal: Terminal): void {
  const quarantine = program.command('quarantine').summary('rows that were put aside: list, show, release, discard');
  quarantine.description(
    'Rows that may not reach a view yet, because their table broke its contract or they themselves do.',
  );
  const sub = (name: string, summary: string): Command =>
    quarantine
      .command(name)
      .summary(summary)
      .description(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`)
      .option(
        '--registry <address>',
        'the registry; or FRESHET_REGISTRY',
        terminal.env['FRESHET_REGISTRY'] ?? '127.0.0.1:7404',
      )
      .option('--json', 'as JSON')
      .showHelpAfterError(`('freshet quarantine ${name} --help' shows how it is used)`);
  sub('list', 'what is held of tables, and the rows in the order in which they were put aside')
    .argument('[source]', 'of this source only')
    .option('--after <token>', 'the next page, as the one before told')
    .action((source: string | undefined, options: Shared & { after?: string }) =>
      withIngest(terminal, options, DEADLINE_MS, async (client) => {
        const request = { source: source ?? '', pageToken: options.after ?? '' };
        const page = await client.listQuarantine(request, { signal: terminal.signal });
        if (options.json === true) terminal.out(`${JSON.stringify(toJson(ListQuarantineResponseSchema, page))}\n`);
        else terminal.out(listText(terminal, page.held, page.rows, page.nextPageToken));
      }),
    );
  sub('show', 'one row with its values, and the table as it was described')
    .argument('<id>', 'its id, from the list')
    .action((id: string, options: Shared) =>
      withIngest(terminal, options, DEADLINE_MS, async (client) => {
        const { json } = await client.showQuarantine({ id }, { signal: terminal.signal });
        terminal.out(`${options.json === true ? json : JSON.stringify(JSON.parse(json), undefined, 2)}\n`);
      }),
    );
  sub('release', 'fold what is held of a source, in order, and let its rows flow')
    .argument('<source>', 'the source')
    .option(
      '--map <old=new>',
      "a column's name in the contract and in the table; a label: column:old=new; may be repeated",
      collect,
      [],
    )
    .action((source: string, options: Shared & { map: Mapping[] }) =>
      withIngest(terminal, options, RELEASE_MS, (client) => release(terminal, client, source, options)),
    );
  sub('discard', 'drop what is held of a source, or single rows, for good')
    .argument('[source]', 'the source')
    .option('--id <id>', 'a row by its id, instead; may be repeated', (id: string, ids: string[]) => [...ids, id], [])
    .option('--keep', 'of a mutable source: do not read the table anew, though views then differ from it')
    .option('-y, --yes', 'do not ask')
    .action((source: string | undefined, options: Shared & { id: string[]; keep?: boolean; yes?: boolean }) =>
      withIngest(terminal, options, RELEASE_MS, async (client) => {
        const what = source === undefined ? `${options.id.length} row(s)` : `everything that is held of ${source}`;
        if (options.yes !== true) await askFirst(terminal, `Drop ${what} for good?`, DISCARD_ASK);
        const request = { source: source ?? '', ids: options.id, keep: options.keep === true };
        const { discarded, readAnew } = await client.discardQuarantine(request, { signal: terminal.signal });
        const anew = readAnew.length > 0 ? '; the table is read anew' : '';
        if (options.json === true) terminal.out(`${JSON.stringify({ discarded: Number(discarded), readAnew })}\n`);
        else terminal.out(`${countText(discarded)} row(s) discarded${anew}\n`);
      }),
    );
}

type Client = GrpcClient<typeof QuarantineService>;

async function withIngest(
  terminal: Terminal,
  options: Shared,
  deadlineMs: number,
  work: (client: Client) => Promise<void>,
): Promise<void> {
  const registry = createGrpcClient(RegistryService, options.registry, { deadlineMs: 10_000 });
  let client: Client | undefined;
  try {
    const nodes = await liveNodes(registry, terminal.signal);
    const address = nodes.find(({ role }) => role === Role.INGEST)?.address;
    if (address === undefined) {
      throw new FreshetError('UNAVAILABLE', 'the registry knows of no ingest node now', {
        remedy: 'start ingest: the quarantine is its own',
      });
    }
    client = createGrpcClient(QuarantineService, address, { deadlineMs });
    await work(client);
  } finally {
    client?.close();
    registry.close();
  }
}

async function release(
  terminal: Terminal,
  client: Client,
  source: string,
  { map, json }: Shared & { map: Mapping[] },
): Promise<void> {
  const blocked = new Map<number, string>();
  let before = '';
  for await (const progress of client.releaseQuarantine({ source, mappings: map }, { signal: terminal.signal })) {
    const { route, released, held, done } = progress;
    const line =
      json === true
        ? JSON.stringify({ route, released: Number(released), held: Number(held), blocked: progress.blocked, done })
        : `route ${route}: ${countText(released)} released, ${countText(held)} held${done ? '; it flows' : ''}`;
    if (line !== before) terminal.out(`${line}\n`);
    before = line;
    if (progress.blocked !== '') blocked.set(route, progress.blocked);
  }
  const [first] = blocked.values();
  if (first === undefined) return;
  throw new FreshetError('CONTRACT_BROKEN', `a held row of ${source} may still not be read: ${first}`, {
    place: `source ${source}`,
    remedy: `Adapt the definitions, give --map, or drop the row: freshet quarantine list ${source}; freshet quarantine discard --id <id>`,
  });
}

function listText(
  terminal: Terminal,
  held: readonly HeldTable[],
  rows: readonly QuarantinedRow[],
  next: string,
): string {
  if (held.length === 0 && rows.length === 0) return 'The quarantine is empty.\n';
  const lines = held.map(
    (one) =>
      `${paint(terminal, 'yellow', 'held')} ${one.source} (${one.table}): ${countText(one.rows)} rows since ${timestampText(one.sinceUs)}: ${one.reason}\n`,
  );
  const columns = [{ head: 'id' }, { head: 'source' }, { head: 'operation' }, { head: 'reason' }, { head: 'detail' }];
  const cells = rows.map(({ id, source, operation, reason, detail }) => [id, source, operation, reason, detail]);
  const more = next === '' ? '' : `There are more: --after ${next}\n`;
  return `${lines.join('')}${table(terminal, columns, cells)}\n${more}`;
}

function collect(text: string, mappings: Mapping[]): Mapping[] {
  const match = /^(?:([^:=]+):)?([^=]+)=(.+)$/.exec(text);
  const [, column, old = '', now = ''] = match ?? [];
  if (match === null) throw new InvalidArgumentError('write old=new for a column, column:old=new for a label');
  return [...mappings, column === undefined ? { column: old, label: '', now } : { column, label: old, now }];
}
