/**
 * freshet quarantine: look at rows that were put aside, release them, drop them.
 *
 * Owns how it is called and what it shows. What becomes of rows is ingest's.
 */
import { type MessageInitShape, toJson } from '@bufbuild/protobuf';
import {
  type ListQuarantineResponse,
  ListQuarantineResponseSchema,
  type NameMappingSchema,
  QuarantineService,
  type ReleaseQuarantineResponse,
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

type ReleaseOptions = Shared & {
  readonly map: Mapping[];
  readonly id: string[];
  readonly reason: string[];
  readonly ignoreRules?: boolean;
  readonly readAnew?: boolean;
};

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
        else terminal.out(listText(terminal, page));
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
  sub('release', 'fold what was put aside of a source, where it may pass now, and let its rows flow')
    .argument('<source>', 'the source')
    .option(
      '--map <old=new>',
      "a column's name in the contract and in the table; a label: column:old=new; may be repeated",
      collect,
      [],
    )
    .option('--id <id>', 'only this row, which holds nothing; may be repeated', add, [])
    .option('--reason <reason>', 'only rows that were put aside alone for this reason; may be repeated', add, [])
    .option('--ignore-rules', 'ask rows that were put aside alone neither value rules nor how far ahead their time is')
    .option('--read-anew', 'of a mutable source with such rows: read the table anew, as they are not folded late')
    .action((source: string, options: ReleaseOptions) =>
      withIngest(terminal, options, RELEASE_MS, (client) => release(terminal, client, source, options)),
    );
  sub('discard', 'drop what is held of a source, or single rows, for good')
    .argument('[source]', 'the source')
    .option('--id <id>', 'a row by its id, instead; may be repeated', add, [])
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

async function release(terminal: Terminal, client: Client, source: string, options: ReleaseOptions): Promise<void> {
  const { map, id, reason, ignoreRules = false, readAnew = false, json } = options;
  const request = { source, mappings: map, ids: id, reasons: reason, ignoreRules, readAnew };
  let blocked: string | undefined;
  const stay: string[] = [];
  let before = '';
  let aloneCount = 0n;
  for await (const progress of client.releaseQuarantine(request, { signal: terminal.signal })) {
    const { alone } = progress;
    const line = json === true ? progressJson(progress) : progressText(progress);
    if (line !== before) terminal.out(`${line}\n`);
    before = line;
    if (progress.blocked !== '' && alone === undefined) blocked ??= progress.blocked;
    aloneCount += (alone?.released ?? 0n) + (alone?.left ?? 0n);
    if (alone !== undefined && alone.left > 0n && !alone.readAnew) stay.push(alone.why);
  }
  if (blocked !== undefined) {
    throw new FreshetError('CONTRACT_BROKEN', `a held row of ${source} may still not be read: ${blocked}`, {
      place: `source ${source}`,
      remedy:
        `Adapt the definitions, give --map, or drop the row: freshet quarantine list ${source}; freshet quarantine discard --id <id>. ` +
        'A shape that the table had for a while only, and that reads alike, passes under `policy: notify`: apply that, release, apply the policy of before',
    });
  }
  // Who asked for a whole source is told what stays, and that is no failure: it stays because of what it is.
  if (id.length + reason.length === 0) return;
  if (aloneCount === 0n) {
    throw new FreshetError('INVALID_REQUEST', `no row of ${source} was put aside alone by that id or reason`, {
      place: `source ${source}`,
      remedy: `see freshet quarantine list ${source}; rows that are held are released together, without --id and --reason`,
    });
  }
  if (stay[0] === undefined) return;
  throw new FreshetError('CONTRACT_BROKEN', `rows of ${source} stay put aside; the first, because ${stay[0]}`, {
    place: `source ${source}`,
    remedy:
      'adapt the definitions, or give --ignore-rules for rules and times; or drop them: freshet quarantine discard --id <id>',
  });
}

function progressJson({ route, released, held, blocked, done, alone }: ReleaseQuarantineResponse): string {
  const more = alone && {
    alone: {
      released: Number(alone.released),
      left: Number(alone.left),
      why: alone.why,
      readAnew: alone.readAnew,
    },
  };
  return JSON.stringify({ route, released: Number(released), held: Number(held), blocked, done, ...more });
}

function progressText({ route, released, held, done, alone }: ReleaseQuarantineResponse): string {
  if (alone === undefined)
    return `route ${route}: ${countText(released)} released, ${countText(held)} held${done ? '; it flows' : ''}`;
  const anew = alone.readAnew ? '; the table is read anew' : '';
  const why = alone.why === '' ? '' : `: ${alone.why}`;
  return `route ${route}: put aside alone: ${countText(alone.released)} released, ${countText(alone.left)} stay${why}${anew}`;
}

function listText(
  terminal: Terminal,
  { held, alone, rows, nextPageToken: next }: Pick<ListQuarantineResponse, 'held' | 'alone' | 'rows' | 'nextPageToken'>,
): string {
  if (held.length === 0 && rows.length === 0) return 'The quarantine is empty.\n';
  const lines = held.map(
    (one) =>
      `${paint(terminal, 'yellow', 'held')} ${one.source} (${one.table}): ${countText(one.rows)} rows since ${timestampText(one.sinceUs)}: ${one.reason}\n`,
  );
  for (const { source, route, rows: count } of alone) {
    lines.push(
      `${paint(terminal, 'yellow', 'aside')} ${source} (route ${route}): ${countText(count)} rows, each alone\n`,
    );
  }
  const columns = [{ head: 'id' }, { head: 'source' }, { head: 'operation' }, { head: 'reason' }, { head: 'detail' }];
  const cells = rows.map(({ id, source, operation, reason, detail }) => [id, source, operation, reason, detail]);
  const more = next === '' ? '' : `There are more: --after ${next}\n`;
  return `${lines.join('')}${table(terminal, columns, cells)}\n${more}`;
}

function add(one: string, others: string[]): string[] {
  return [...others, one];
}

function collect(text: string, mappings: Mapping[]): Mapping[] {
  const match = /^(?:([^:=]+):)?([^=]+)=(.+)$/.exec(text);
  const [, column, old = '', now = ''] = match ?? [];
  if (match === null) throw new InvalidArgumentError('write old=new for a column, column:old=new for a label');
  return [...mappings, column === undefined ? { column: old, label: '', now } : { column, label: old, now }];
}
