/** freshet lineage: what something is made of and what is made of it, as trees. */
import {
  type GetLineageResponse,
  type LineageEdge,
  type LineageNode,
  RegistryService,
  SubjectKind,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { countText, timestampText } from '../output/values.ts';
import { KIND_NAMES, kindWord } from './search.ts';

/** A tree ends here; --json has everything. */
const LINES_MAX = 2_000;

export async function lineageCommand(
  terminal: Terminal,
  kind: string,
  name: string,
  options: { readonly registry: string; readonly json?: boolean },
): Promise<void> {
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    const lineage = await registry.getLineage(
      { kind: KIND_NAMES[kind] ?? SubjectKind.UNSPECIFIED, name },
      { signal: terminal.signal },
    );
    terminal.out(options.json === true ? `${JSON.stringify(lineageJson(lineage))}\n` : lineageText(terminal, lineage));
  } finally {
    registry.close();
  }
}

function lineageJson({ subject, nodes, edges, generation }: GetLineageResponse): Record<string, unknown> {
  return {
    subject,
    generation: generation.toString(),
    nodes: nodes.map(({ id, kind, name, owner }) => ({ id, kind: kindWord(kind), name, owner })),
    edges: edges.map(({ from, to, role, reads, lastUs }) => ({
      from,
      to,
      role,
      ...(role === 'read' && { reads: reads.toString(), last: timestampText(lastUs) }),
    })),
  };
}

/** Two trees: what it is made of, and what is made of it. What was shown above is not unfolded again. */
export function lineageText(terminal: Pick<Terminal, 'colours'>, lineage: GetLineageResponse): string {
  const nodes = new Map(lineage.nodes.map((node) => [node.id, node]));
  const lines: string[] = [label(terminal, nodes.get(lineage.subject), lineage.subject)];
  const members = lineage.edges.filter(({ from, role }) => from === lineage.subject && role === 'has');
  const starts = members.length === 0 ? [lineage.subject] : members.map(({ to }) => to);
  const flow = lineage.edges.filter(({ role }) => role !== 'has');
  const trees = [
    ['made of', Map.groupBy(flow, ({ to }) => to), (edge: LineageEdge) => edge.from],
    ['goes into', Map.groupBy(flow, ({ from }) => from), (edge: LineageEdge) => edge.to],
  ] as const;
  for (const [title, along, next] of trees) {
    lines.push('', paint(terminal, 'bold', title));
    const before = lines.length;
    const tree = { terminal, nodes, along, next, lines, shown: new Set<string>() };
    for (const start of starts) {
      if (members.length > 0 && along.has(start)) lines.push(label(terminal, nodes.get(start), start));
      branch(tree, start, '');
    }
    if (lines.length === before) lines.push(paint(terminal, 'dim', 'nothing'));
  }
  const shown = lines.slice(0, LINES_MAX);
  if (shown.length < lines.length) shown.push(`… ${lines.length - LINES_MAX} more lines; --json has everything`);
  return `${shown.join('\n')}\n`;
}

interface Tree {
  readonly terminal: Pick<Terminal, 'colours'>;
  readonly nodes: ReadonlyMap<string, LineageNode>;
  readonly along: ReadonlyMap<string, readonly LineageEdge[]>;
  readonly next: (edge: LineageEdge) => string;
  readonly lines: string[];
  readonly shown: Set<string>;
}

/** Depth is bounded by the longest way from a column to a service, since a graph of definitions has no circles. */
function branch(tree: Tree, id: string, indent: string): void {
  const roles = Map.groupBy(tree.along.get(id) ?? [], tree.next);
  const others = [...roles.keys()];
  others.forEach((other, index) => {
    const isLast = index === others.length - 1;
    const role = [...new Set((roles.get(other) ?? []).map(roleText))].join(', ');
    const again = tree.shown.has(other) && tree.along.has(other);
    const text = `${label(tree.terminal, tree.nodes.get(other), other)} ${paint(tree.terminal, 'dim', `(${role})${again ? ' …' : ''}`)}`;
    tree.lines.push(`${indent}${isLast ? '└─' : '├─'} ${text}`);
    if (again || tree.lines.length > LINES_MAX * 2) return;
    tree.shown.add(other);
    branch(tree, other, `${indent}${isLast ? '   ' : '│  '}`);
  });
}

/** "input"; of a reader how often and when last. */
function roleText({ role, reads, lastUs }: LineageEdge): string {
  return role === 'read' ? `${countText(reads)} reads, the last ${timestampText(lastUs).slice(0, 19)}Z` : role;
}

function label(terminal: Pick<Terminal, 'colours'>, node: LineageNode | undefined, id: string): string {
  if (node === undefined || node.owner === '') return id;
  return `${id} ${paint(terminal, 'cyan', `[${node.owner}]`)}`;
}
