/**
 * Followers of a compute node, as a process of their own: follower-load.ts ADDRESS FOLLOWERS SHARDS COALESCE_US.
 *
 * Each has a connection of its own, as replicas on other machines do. They take every frame and count its rows by its
 * bytes, without decoding it: what is measured is the node. Prints `{rows, bytes, caughtUp}` as a line when it reads one: rows
 * by follower, and the number of shards over all followers whose first catch-up has ended.
 */
import { createInterface } from 'node:readline';
import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { SubscribeChangesRequestSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { Client, credentials, Metadata } from '@grpc/grpc-js';

/** Fields of SubscribeChangesResponse, and of its ShardCursor and ViewRows. */
const SHARD = 2;
const CURSOR = 4;
const CURSOR_POSITION = 3;
const VIEW_ROWS = 7;
const ROWS = 2;

const [address = '', followersText = '', shardsText = '', coalesceText = ''] = process.argv.slice(2);
const request = toBinary(
  SubscribeChangesRequestSchema,
  create(SubscribeChangesRequestSchema, {
    shards: Array.from({ length: Number(shardsText) }, (_, shard) => ({ shard })),
    coalesceUs: BigInt(coalesceText),
  }),
);
const rows = new Float64Array(Number(followersText));
let bytes = 0;
const caughtUp = new Set<string>();

/** How often a field of the next message is there; the reader is then behind the message. */
function countFields(reader: BinaryReader, field: number): number {
  let count = 0;
  const end = reader.uint32() + reader.pos;
  while (reader.pos < end) {
    const [no, type] = reader.tag();
    if (no === field) count += 1;
    reader.skip(type, no);
  }
  return count;
}

/** Counts the rows of a frame, and notes a shard whose cursor has a position: its first catch-up has ended. */
function note(follower: number, frame: Uint8Array): number {
  let count = 0;
  let shard = 0;
  const reader = new BinaryReader(frame);
  while (reader.pos < reader.len) {
    const [no, type] = reader.tag();
    if (no === SHARD) shard = reader.uint32();
    else if (no === CURSOR) {
      if (countFields(reader, CURSOR_POSITION) > 0) caughtUp.add(`${follower}/${shard}`);
    } else if (no === VIEW_ROWS) count += countFields(reader, ROWS);
    else reader.skip(type, no);
  }
  return count;
}

for (const index of rows.keys()) {
  const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  const call = client.makeServerStreamRequest(
    '/freshet.compute.v1.ComputeService/SubscribeChanges',
    (message: Buffer) => message,
    (message: Buffer) => message,
    Buffer.from(request),
    new Metadata(),
  );
  call.on('data', (frame: Buffer) => {
    rows[index] = (rows[index] ?? 0) + note(index, frame);
    bytes += frame.length;
  });
  call.on('error', () => process.exit(0));
}

createInterface({ input: process.stdin }).on('line', () => {
  process.stdout.write(`${JSON.stringify({ rows: [...rows], bytes, caughtUp: caughtUp.size })}\n`);
});
