/** freshet search: definitions in force by name, description, owner and tag. */
import { RegistryService, SubjectKind } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { table } from '../output/table.ts';
import type { Terminal } from '../output/terminal.ts';

export interface SearchOptions {
  readonly registry: string;
  readonly tag: readonly string[];
  readonly owner?: string;
  readonly kind: readonly string[];
  readonly limit: number;
  readonly json?: boolean;
}

export const KIND_NAMES: Readonly<Record<string, SubjectKind>> = {
  column: SubjectKind.COLUMN,
  entity: SubjectKind.ENTITY,
  source: SubjectKind.SOURCE,
  view: SubjectKind.VIEW,
  feature: SubjectKind.FEATURE,
  derived: SubjectKind.DERIVED,
  'on-demand': SubjectKind.ON_DEMAND,
  service: SubjectKind.SERVICE,
  reader: SubjectKind.READER,
};

/** "feature"; "unknown" for a kind that is newer than this program. */
export function kindWord(kind: SubjectKind): string {
  return Object.keys(KIND_NAMES).find((name) => KIND_NAMES[name] === kind) ?? 'unknown';
}

export async function searchCommand(
  terminal: Terminal,
  words: readonly string[],
  options: SearchOptions,
): Promise<void> {
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    const { hits, total } = await registry.search(
      {
        text: words.join(' '),
        tags: [...options.tag],
        owner: options.owner ?? '',
        kinds: options.kind.map((name) => KIND_NAMES[name] ?? SubjectKind.UNSPECIFIED),
        limit: options.limit,
      },
      { signal: terminal.signal },
    );
    if (options.json === true) {
      const shown = hits.map(({ kind, name, description, owner, tags, location }) => ({
        kind: kindWord(kind),
        name,
        description,
        owner,
        tags,
        place: location === undefined ? '' : `${location.file}:${location.line}:${location.column}`,
      }));
      terminal.out(`${JSON.stringify({ hits: shown, total })}\n`);
      return;
    }
    if (hits.length === 0) {
      terminal.out('Nothing was found.\n');
      return;
    }
    const columns = ['kind', 'name', 'owner', 'tags', 'description'].map((head) => ({ head }));
    const rows = hits.map(({ kind, name, owner, tags, description }) => [
      kindWord(kind),
      name,
      owner,
      tags.join(', '),
      description.split('\n')[0] ?? '',
    ]);
    terminal.out(table(terminal, columns, rows));
    if (total > hits.length) terminal.err(`${total - hits.length} more; --limit shows more of them\n`);
  } finally {
    registry.close();
  }
}
