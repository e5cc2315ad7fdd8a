/**
 * For tests: a service that only says that it is healthy, by grpc.health.v1 over bare HTTP/2, because it is started
 * dozens of times and gRPC's libraries take longer to load than everything else. Arguments: role, address, a file to
 * note starts and stops in, and how to behave: "well", "config" (refuses its configuration), "slow" (takes its time to
 * stop).
 */
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http2';

const [role = '', address = '', notes = '', behaviour = 'well'] = process.argv.slice(2);
const note = (what: string): void => appendFileSync(notes, `${what} ${role}\n`);
const say = (level: string, message: string, fields: object): void =>
  console.error(JSON.stringify({ time: new Date().toISOString(), level, service: role, message, ...fields }));

if (behaviour === 'config') {
  say('error', '--wal is not an option', { code: 'INVALID_CONFIG', remedy: 'did you mean --log?' });
  process.exit(78);
}
process.on('SIGTERM', () => {
  setTimeout(
    () => {
      note('stop');
      process.exit(0);
    },
    behaviour === 'slow' ? 500 : 0,
  );
});

// A length-prefixed HealthCheckResponse whose status is SERVING.
const SERVING = Buffer.from([0, 0, 0, 0, 2, 0x08, 0x01]);
const server = createServer();
server.on('stream', (stream) => {
  stream.on('error', () => {});
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(SERVING);
});
const at = address.lastIndexOf(':');
server.listen(Number(address.slice(at + 1)), address.slice(0, at), () => {
  note('start');
  say('info', 'up', { settings: Object.keys(process.env).filter((name) => name.startsWith('FRESHET_')) });
});
