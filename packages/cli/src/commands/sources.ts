/** freshet sources: which node captures which database, and freeing one by hand. */
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { table } from '../output/table.ts';
import type { Terminal } from '../output/terminal.ts';
import { timestampText } from '../output/values.ts';

export async function sourcesCommand(
  terminal: Terminal,
  options: { readonly registry: string; readonly json?: boolean },
): Promise<void> {
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    const { claims } = await registry.listSourceClaims({}, { signal: terminal.signal });
    if (options.json === true) {
      const shown = claims.map(({ database, nodeId, sinceUs, epoch, alive }) => ({
        database,
        node: nodeId,
        since: timestampText(sinceUs),
        epoch: epoch.toString(),
        alive,
      }));
      terminal.out(`${JSON.stringify({ claims: shown })}\n`);
      return;
    }
    if (claims.length === 0) {
      terminal.out('No database is captured by any node.\n');
      return;
    }
    const columns = ['database', 'node', 'since', 'epoch', 'lease'].map((head) => ({ head }));
    const rows = claims.map(({ database, nodeId, sinceUs, epoch, alive }) => [
      database,
      nodeId,
      timestampText(sinceUs),
      epoch.toString(),
      alive ? 'yes' : 'none',
    ]);
    terminal.out(table(terminal, columns, rows));
  } finally {
    registry.close();
  }
}

export async function releaseSourceCommand(
  terminal: Terminal,
  database: string,
  options: { readonly node: string; readonly force?: boolean; readonly registry: string },
): Promise<void> {
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    const request = { database, nodeId: options.node, force: options.force === true };
    await registry.releaseSource(request, { signal: terminal.signal });
    terminal.out(`${database} is free: the next node that asks captures it\n`);
  } finally {
    registry.close();
  }
}
