/** Goal: a registry that hangs is told as such, and not as a call that somebody cancelled. Method: one that hangs. */
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { expect, it } from 'vitest';
import { liveNodes } from './mesh-nodes.ts';

it('tells a registry that does not answer from somebody who does not wait', async () => {
  const server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
    async *watchTopology(_request, { signal }) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      yield { nodes: [] };
    },
  });
  const { address } = await server.listen('127.0.0.1:0');
  const registry = createGrpcClient(RegistryService, address);
  try {
    await expect(liveNodes(registry, new AbortController().signal, 100)).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      remedy: expect.stringContaining('stopped'),
    });
    const stop = new AbortController();
    const asking = liveNodes(registry, stop.signal);
    stop.abort();
    await expect(asking).rejects.toMatchObject({ code: 'CANCELLED' });
  } finally {
    registry.close();
    await server.drain(50);
  }
});
