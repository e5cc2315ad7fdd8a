/** freshet apply: plan, show, ask, apply that plan, wait until it is served. */
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { CommanderError } from 'commander';
import { apply, plan, readDefinitionFiles } from '../definitions.ts';
import { EXIT } from '../output/errors.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { untilServed } from '../progress.ts';
import { planJson, planText } from './plan.ts';

export interface ApplyOptions {
  readonly registry: string;
  readonly yes?: boolean;
  readonly wait: boolean;
  /** Milliseconds. */
  readonly timeout: number;
  readonly json?: boolean;
}

export async function applyCommand(terminal: Terminal, paths: readonly string[], options: ApplyOptions): Promise<void> {
  const definitions = await readDefinitionFiles(paths);
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    const planned = await plan(registry, definitions, terminal.signal);
    if (options.json !== true) terminal.out(planText(terminal, planned));
    if (planned.changes.length > 0 && options.yes !== true) await ask(terminal);
    const generation = await apply(registry, definitions, planned.planHash, terminal.signal);
    if (options.json !== true)
      terminal.out(`${paint(terminal, 'green', 'applied')}: generation ${generation} is in force\n`);
    if (options.wait)
      await untilServed({ terminal, registry, generation, timeoutMs: options.timeout, quiet: options.json === true });
    if (options.json === true)
      terminal.out(
        `${JSON.stringify({ ...planJson(planned), generation: generation.toString(), served: options.wait })}\n`,
      );
    else if (options.wait)
      terminal.out(`${paint(terminal, 'green', 'served')}: every feature is complete on every serve node\n`);
  } finally {
    registry.close();
  }
}

async function ask(terminal: Terminal): Promise<void> {
  if (terminal.confirm === undefined) {
    terminal.err('error: nobody is there to say yes; give --yes to apply without asking\n');
    throw new CommanderError(EXIT.usage, 'freshet.apply', 'nobody is there to say yes');
  }
  if (!(await terminal.confirm('Apply this plan?'))) {
    throw new FreshetError('CANCELLED', 'nothing was applied', { remedy: 'answer y, or give --yes' });
  }
}
