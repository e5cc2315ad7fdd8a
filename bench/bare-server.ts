/**
 * The baseline of the serve benchmark: a grpc-js server that answers every call with the same buffer. Run as a process:
 * bare-server.ts BYTES; prints its address when it listens.
 */
import { Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';

const answer = Buffer.alloc(Number(process.argv[2]), 1);
const pass = (bytes: Buffer): Buffer => bytes;
const definition: ServiceDefinition = {
  get: {
    path: '/bare.Bare/Get',
    requestStream: false,
    responseStream: false,
    requestSerialize: pass,
    requestDeserialize: pass,
    responseSerialize: pass,
    responseDeserialize: pass,
  },
};
const server = new Server({ 'grpc.enable_channelz': 0 });
server.addService(definition, {
  get: (_call: unknown, callback: (error: null, value: Buffer) => void) => callback(null, answer),
});
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stdout.write(`127.0.0.1:${port}\n`);
});
