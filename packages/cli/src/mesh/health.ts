/**
 * Asks a node for its health by grpc.health.v1. The service's descriptor is made here, because it is gRPC's own and
 * not part of our contract. "" asks whether the process answers, "ready" whether it can do its work.
 */
import { create, createFileRegistry, type DescService, type Message } from '@bufbuild/protobuf';
import {
  FileDescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from '@bufbuild/protobuf/wkt';
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';

const SERVING = 1;
const PROBE_DEADLINE_MS = 2_000;
const PROBE_INTERVAL_MS = 50;

const HEALTH: DescService = must(
  createFileRegistry(
    create(FileDescriptorProtoSchema, {
      name: 'grpc/health/v1/health.proto',
      package: 'grpc.health.v1',
      syntax: 'proto3',
      messageType: [
        {
          name: 'HealthCheckRequest',
          field: [{ name: 'service', number: 1, type: Type.STRING, label: Label.OPTIONAL }],
        },
        // The status is an enum; on the wire that is an int32.
        {
          name: 'HealthCheckResponse',
          field: [{ name: 'status', number: 1, type: Type.INT32, label: Label.OPTIONAL }],
        },
      ],
      service: [
        {
          name: 'Health',
          method: [
            {
              name: 'Check',
              inputType: '.grpc.health.v1.HealthCheckRequest',
              outputType: '.grpc.health.v1.HealthCheckResponse',
            },
          ],
        },
      ],
    }),
    () => undefined,
  ).getService('grpc.health.v1.Health'),
);

export type HealthQuestion = '' | 'ready';

interface HealthClient {
  check(
    request: { service: string },
    options: { signal?: AbortSignal; deadlineMs: number },
  ): Promise<Message & { status: number }>;
  close(): void;
}

/** Whether the node at the address says yes. No answer is no. Rejects only when the signal aborts. */
export async function isHealthy(address: string, question: HealthQuestion, signal?: AbortSignal): Promise<boolean> {
  const client = createGrpcClient(HEALTH, address) as unknown as HealthClient;
  try {
    const { status } = await client.check(
      { service: question },
      { ...(signal && { signal }), deadlineMs: PROBE_DEADLINE_MS },
    );
    return status === SERVING;
  } catch (error) {
    signal?.throwIfAborted();
    if (!isFreshetError(error)) throw error;
    return false;
  } finally {
    client.close();
  }
}

/** When a wait is told for the first time, and how much longer each time after that. */
const TELL_AFTER_MS = 30_000;
const TELL_GROWTH = 2;

/**
 * Resolves when the node says yes; rejects with the signal's reason when it aborts first. There is no limit: a large
 * store takes long to be looked through, and killing it would only begin that again. `onSlow` is told after 30 s, 60 s,
 * 120 s … how long it has been, in milliseconds.
 */
export async function untilHealthy(
  address: string,
  question: HealthQuestion,
  clock: Clock,
  signal: AbortSignal,
  onSlow?: (waitedMs: number) => void,
): Promise<void> {
  const beganUs = clock.monotonicUs();
  let tellMs = TELL_AFTER_MS;
  while (!(await isHealthy(address, question, signal))) {
    const waitedMs = (clock.monotonicUs() - beganUs) / 1000;
    if (waitedMs >= tellMs) {
      onSlow?.(Math.round(waitedMs));
      tellMs *= TELL_GROWTH;
    }
    await clock.sleep(PROBE_INTERVAL_MS, signal);
  }
}
