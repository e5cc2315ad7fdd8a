/** Calls per second of a unary gRPC method under h2load (Debian: nghttp2-client). */
import { execFile, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

const CONNECTIONS = 4;
const STREAMS = 25;

export function requireH2load(): void {
  if (spawnSync('h2load', ['--version']).status !== 0) {
    process.stderr.write('h2load is not installed: apt-get install nghttp2-client\n');
    process.exit(1);
  }
}

/** Writes a request as h2load sends it: gRPC's five bytes of framing, then the message. */
export function writeGrpcFrame(file: string, message: Uint8Array): void {
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  writeFileSync(file, frame);
}

/** Calls per second over the given time. Throws when any call did not answer 200. */
export async function callsPerSecond(
  address: string,
  path: string,
  requestFile: string,
  seconds: number,
): Promise<number> {
  const { stdout } = await promisify(execFile)('h2load', [
    '-D',
    String(seconds),
    '--warm-up-time',
    '1',
    '-c',
    String(CONNECTIONS),
    '-m',
    String(STREAMS),
    '-t',
    '1',
    '-H',
    'content-type: application/grpc',
    '-H',
    'te: trailers',
    '-d',
    requestFile,
    `http://${address}${path}`,
  ]);
  const rate = /finished in [^,]+, ([\d.]+) req\/s/.exec(stdout)?.[1];
  const failed = /(\d+) failed, (\d+) errored/.exec(stdout);
  if (rate === undefined || failed === null || Number(failed[1]) + Number(failed[2]) > 0)
    throw new Error(`h2load failed:\n${stdout}`);
  return Number(rate);
}
