/** freshet history and freshet rollback: who applied what, and back to what was in force before. */
import { type Apply, RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { changeJson, changeLines, countsText } from '../output/plan-text.ts';
import { table } from '../output/table.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { timestampText } from '../output/values.ts';
import { type ApplyOptions, applyDefinitions } from './apply.ts';

export interface HistoryOptions {
  readonly registry: string;
  readonly limit: number;
  /** Only applies before this number. */
  readonly before?: bigint | undefined;
  /** The changes of each, too. */
  readonly changes?: boolean;
  readonly json?: boolean;
}

export async function historyCommand(terminal: Terminal, options: HistoryOptions): Promise<void> {
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    const { applies, nextBefore } = await registry.listApplies(
      { limit: options.limit, before: options.before ?? 0n },
      { signal: terminal.signal },
    );
    if (options.json === true) {
      const next = nextBefore === 0n ? null : nextBefore.toString();
      terminal.out(`${JSON.stringify({ applies: applies.map(applyJson), nextBefore: next })}\n`);
      return;
    }
    terminal.out(historyText(terminal, applies, options.changes === true));
    if (nextBefore !== 0n) terminal.err(`older ones: freshet history --before ${nextBefore}\n`);
  } finally {
    registry.close();
  }
}

function historyText(terminal: Terminal, applies: readonly Apply[], changes: boolean): string {
  if (applies.length === 0) return 'Nothing was applied yet.\n';
  if (changes) {
    const blocks = applies.map((apply) =>
      [
        `${paint(terminal, 'bold', `apply ${apply.number}`)}: generation ${apply.generation}, ${when(apply)}, ${apply.by || apply.peer}${apply.message === '' ? '' : `: ${apply.message}`}`,
        ...apply.changes.flatMap((change) => changeLines(terminal, change)).map((line) => `  ${line}`),
      ].join('\n'),
    );
    return `${blocks.join('\n\n')}\n`;
  }
  const columns = ['apply', 'generation', 'when', 'by', 'changes', 'kept', 'message'].map((head) => ({ head }));
  const rows = applies.map((apply) => [
    apply.number.toString(),
    apply.generation.toString(),
    when(apply),
    apply.by || apply.peer,
    countsText(apply.changes) || 'none',
    apply.kept ? 'yes' : 'no',
    apply.message,
  ]);
  return table(terminal, columns, rows);
}

function when({ appliedAtUs }: Apply): string {
  return `${timestampText(appliedAtUs).slice(0, 19)}Z`;
}

function applyJson(apply: Apply): Record<string, unknown> {
  const { number, generation, appliedAtUs, planHash, changes, peer, by, message, kept } = apply;
  return {
    number: number.toString(),
    generation: generation.toString(),
    appliedAt: timestampText(appliedAtUs),
    planHash: Buffer.from(planHash).toString('hex'),
    by,
    peer,
    message,
    kept,
    changes: changes.map(changeJson),
  };
}

/** Plans the definitions of an earlier generation again, shows that plan, asks, and applies it as a new generation. */
export async function rollbackCommand(
  terminal: Terminal,
  generation: bigint | undefined,
  options: ApplyOptions,
): Promise<void> {
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    const earlier = await registry.getDefinitionsAt({ generation: generation ?? 0n }, { signal: terminal.signal });
    const { definitions } = earlier;
    if (definitions === undefined) {
      throw new FreshetError('INTERNAL', `the registry gave no definitions for generation ${earlier.generation}`);
    }
    if (options.json !== true) terminal.out(`Back to the definitions of generation ${earlier.generation}:\n\n`);
    const message = options.message ?? `rollback to generation ${earlier.generation}`;
    await applyDefinitions(terminal, registry, definitions, { ...options, message });
  } finally {
    registry.close();
  }
}
