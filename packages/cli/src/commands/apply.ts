/** freshet apply: plan, show, ask, apply that plan, wait until it is served. */
import { ContractGate } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import type { Definitions } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { apply, plan, readDefinitionFiles } from '../definitions.ts';
import { askFirst } from '../output/ask-first.ts';
import { planJson, planText } from '../output/plan-text.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { untilServed } from '../progress/until-served.ts';

const APPLY_ASK = { command: 'freshet.apply', undone: 'nothing was applied' };

export interface ApplyOptions {
  readonly registry: string;
  readonly yes?: boolean;
  readonly wait: boolean;
  /** Milliseconds. */
  readonly timeout: number;
  /** Why, for the history. */
  readonly message?: string;
  /** Also when it accepts contracts whose rows are held. */
  readonly acceptContracts?: boolean;
  readonly json?: boolean;
}

export async function applyCommand(terminal: Terminal, paths: readonly string[], options: ApplyOptions): Promise<void> {
  const definitions = await readDefinitionFiles(paths);
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    await applyDefinitions(terminal, registry, definitions, options);
  } finally {
    registry.close();
  }
}

/** Plans, shows the plan, asks, applies it, and waits until it is served: what apply and rollback share. */
export async function applyDefinitions(
  terminal: Terminal,
  registry: GrpcClient<typeof RegistryService>,
  definitions: Definitions,
  options: ApplyOptions,
): Promise<void> {
  const planned = await plan(registry, definitions, terminal.signal);
  if (options.json !== true) terminal.out(planText(terminal, planned));
  // The registry refuses it, and says what to do: there is nothing to ask.
  const isRefused =
    options.acceptContracts !== true && planned.contracts.some(({ gate }) => gate === ContractGate.HOLD);
  if (planned.changes.length > 0 && options.yes !== true && !isRefused)
    await askFirst(terminal, 'Apply this plan?', APPLY_ASK);
  const generation = await applied(
    terminal,
    apply(registry, definitions, planned.planHash, { ...options, signal: terminal.signal }),
  );
  if (options.json !== true)
    terminal.out(`${paint(terminal, 'green', 'applied')}: generation ${generation} is in force\n`);
  const result = (served: boolean): string =>
    `${JSON.stringify({ ...planJson(planned), generation: generation.toString(), served })}\n`;
  if (options.wait) {
    try {
      await untilServed({
        terminal,
        registry,
        generation,
        timeoutMs: options.timeout,
        json: options.json === true,
      });
    } catch (error) {
      if (terminal.signal.aborted) tellGoesOn(terminal, generation, options.json === true ? result(false) : '');
      throw error;
    }
  }
  if (options.json === true) terminal.out(result(options.wait));
  else if (options.wait)
    terminal.out(`${paint(terminal, 'green', 'served')}: every feature is complete on every serve node\n`);
}

/** Whoever stops here cannot know whether it was in time. */
async function applied(terminal: Terminal, applying: Promise<bigint>): Promise<bigint> {
  try {
    return await applying;
  } catch (error) {
    if (terminal.signal.aborted) {
      terminal.err("stopped while the definitions were applied: 'freshet status' tells whether they are in force\n");
    }
    throw error;
  }
}

/** Waiting is all that can be stopped: what is in force stays in force. */
function tellGoesOn(terminal: Terminal, generation: bigint, result: string): void {
  terminal.out(result);
  terminal.err(
    `stopped waiting: generation ${generation} is in force, and goes on by itself until it is served; ` +
      "'freshet status' shows how far it is\n",
  );
}
