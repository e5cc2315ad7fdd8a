/** freshet plan: what definitions would change. */

import {
  ChangeKind,
  type PlanDefinitionsResponse,
  RegistryService,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { plan, readDefinitionFiles } from '../definitions.ts';
import { type Colour, paint, type Terminal } from '../output/terminal.ts';

export async function planCommand(
  terminal: Terminal,
  paths: readonly string[],
  options: { readonly registry: string; readonly json?: boolean },
): Promise<void> {
  const definitions = await readDefinitionFiles(paths);
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    const planned = await plan(registry, definitions, terminal.signal);
    terminal.out(options.json === true ? `${JSON.stringify(planJson(planned))}\n` : planText(terminal, planned));
  } finally {
    registry.close();
  }
}

const KINDS: Readonly<Record<number, { readonly sign: string; readonly colour: Colour; readonly name: string }>> = {
  [ChangeKind.ADDED]: { sign: '+', colour: 'green', name: 'added' },
  [ChangeKind.CHANGED]: { sign: '~', colour: 'yellow', name: 'changed' },
  [ChangeKind.DROPPED]: { sign: '-', colour: 'red', name: 'dropped' },
};

/** The plan for people: a line per change with what it means and which services it touches. */
export function planText(terminal: Pick<Terminal, 'colours'>, planned: PlanDefinitionsResponse): string {
  const lines: string[] = [];
  for (const { kind, subject, effect, services } of planned.changes) {
    const { sign, colour } = KINDS[kind] ?? { sign: '?', colour: 'dim' as const };
    lines.push(paint(terminal, colour, `${sign} ${subject}`));
    if (effect !== '') lines.push(`    ${effect}`);
    if (services.length > 0) lines.push(paint(terminal, 'dim', `    services: ${services.join(', ')}`));
  }
  for (const note of planned.notes) lines.push(`${paint(terminal, 'cyan', 'note')} ${note}`);
  if (planned.changes.length === 0) lines.push('Nothing changes.');
  else
    lines.push(
      '',
      `${countsText(planned)}; generation ${planned.resolved?.generation ?? 0n} would have ${setText(planned.resolved)}.`,
    );
  return `${lines.join('\n')}\n`;
}

function countsText({ changes }: PlanDefinitionsResponse): string {
  const counts = [ChangeKind.ADDED, ChangeKind.CHANGED, ChangeKind.DROPPED].flatMap((kind) => {
    const count = changes.filter((change) => change.kind === kind).length;
    return count === 0 ? [] : [`${count} ${KINDS[kind]?.name ?? ''}`];
  });
  return counts.join(', ');
}

/** "3 views, 12 features, 1 service" */
export function setText(set: DefinitionSet | undefined): string {
  const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
  const features = set?.views.reduce((sum, view) => sum + view.features.length, 0) ?? 0;
  return [
    plural(set?.views.length ?? 0, 'view'),
    plural(features, 'feature'),
    plural(set?.services.length ?? 0, 'service'),
  ].join(', ');
}

export function planJson(planned: PlanDefinitionsResponse): Record<string, unknown> {
  return {
    planHash: Buffer.from(planned.planHash).toString('hex'),
    generation: (planned.resolved?.generation ?? 0n).toString(),
    changes: planned.changes.map(({ kind, subject, effect, services }) => ({
      kind: KINDS[kind]?.name ?? 'unknown',
      subject,
      effect,
      services,
    })),
    notes: planned.notes,
  };
}
