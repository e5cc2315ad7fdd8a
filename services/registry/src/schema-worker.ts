/**
 * A thread that reads and judges schemas: the composition root of one (io/schema-workers.ts starts and ends it).
 *
 * Owns nothing but its cache. One piece at a time, in the order they come; whoever sent it ends the thread when a piece
 * takes too long.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { must } from '@freshet/kit/assert.ts';
import { InvalidSchema, SCHEMA_LIMITS } from '@freshet/schemas/schema.ts';
import { doWork, ParsedCache, type SchemaWork } from './core/subjects/schema-work.ts';
import { schemaEngines } from './engines.ts';
import type { WorkerMessage, WorkerSetup } from './io/schema-workers.ts';

const port = must(parentPort, 'this file is started as a thread');
const engines = schemaEngines(workerData as WorkerSetup);
const cache = new ParsedCache();

function done(work: SchemaWork): WorkerMessage {
  const startMs = performance.now();
  try {
    const result = doWork(work, { engines, cache, limits: SCHEMA_LIMITS });
    return { kind: 'DONE', result, tookMs: performance.now() - startMs };
  } catch (error) {
    if (error instanceof InvalidSchema) return { kind: 'INVALID', message: error.message, tooLarge: error.tooLarge };
    return { kind: 'FAILED', message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

port.on('message', (work: SchemaWork) => port.postMessage(done(work)));
port.postMessage({ kind: 'READY' } satisfies WorkerMessage);
