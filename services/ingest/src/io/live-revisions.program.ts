/**
 * A node of ingest as a process of its own, for tests that kill it: the production capture over a segment log and a real
 * Postgres. Takes definitions as messages, and answers each with the generation once it is in the log.
 *
 *     argv: the database's URL, the directory
 */
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { openSegmentLog } from '@freshet/log/segment-log.ts';
import { startCapture } from '../testing/capture.ts';

const [url, directory] = [must(process.argv[2]), must(process.argv[3])];
const log = await openSegmentLog({
  directory: join(directory, 'log'),
  partitions: 3,
  clock: systemClock,
  minFreeBytes: 0,
});
const capture = await startCapture({ url, directory, log });

/** What it says of itself, each time something was put in force, and whenever it is asked. */
function answer(): void {
  const { routes, durableLsn } = capture.source.status();
  process.send?.({ generation: String(capture.node.writtenGeneration), routes, durableLsn: String(durableLsn) });
}

process.on('message', (message: { readonly definitions?: string }) => {
  if (message.definitions === undefined) return answer();
  const definitions = fromBinary(DefinitionSetSchema, Buffer.from(message.definitions, 'base64'));
  void capture.node.apply(definitions).then(answer);
});
process.on('disconnect', () => process.exit(0));
answer();
