/** freshet plan: what definitions would change. */
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { plan, readDefinitionFiles } from '../definitions.ts';
import { planJson, planText } from '../output/plan-text.ts';
import type { Terminal } from '../output/terminal.ts';

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
