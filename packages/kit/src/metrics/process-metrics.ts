/**
 * What every process tells of itself: version, memory, time on the processor, and how late its event loop is. Owns the timer
 * that measures the last. Named as other programs on Node and Prometheus' own clients name them, so that dashboards fit.
 *
 * The lateness is a histogram that only grows: any number of collectors may read it, and none takes from another. Node's
 * own (monitorEventLoopDelay) has to be set back to say anything of the last minute, and contains its own interval.
 */
import { RUNTIME, VERSION } from '../version.ts';
import { counter, gauge, type MetricFamily } from './exposition.ts';

/** Upper bounds of the buckets, seconds. */
const BOUNDS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const;
const EVERY_MS = 100;

export class DelayHistogram {
  readonly #counts = BOUNDS_S.map(() => 0);
  #count = 0;
  #sumS = 0;

  add(seconds: number): void {
    const delay = Math.max(0, seconds);
    this.#count += 1;
    this.#sumS += delay;
    const bucket = BOUNDS_S.findIndex((bound) => delay <= bound);
    if (bucket >= 0) this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
  }

  metrics(name: string, help: string): MetricFamily {
    let below = 0;
    const buckets = BOUNDS_S.map((bound, i) => {
      below += this.#counts[i] ?? 0;
      return { suffix: '_bucket', labels: { le: bound }, value: below };
    });
    const samples = [
      ...buckets,
      { suffix: '_bucket', labels: { le: '+Inf' }, value: this.#count },
      { suffix: '_sum', value: this.#sumS },
      { suffix: '_count', value: this.#count },
    ];
    return { name, type: 'histogram', help, samples };
  }
}

/** Measures this process until the signal aborts; the returned function tells. */
export function watchProcess(signal: AbortSignal): () => MetricFamily[] {
  const delays = new DelayHistogram();
  if (!signal.aborted) measure(delays, signal);
  return () => processMetrics(delays);
}

function measure(delays: DelayHistogram, signal: AbortSignal): void {
  let expectedMs = performance.now() + EVERY_MS;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    delays.add((nowMs - expectedMs) / 1000);
    expectedMs = nowMs + EVERY_MS;
  }, EVERY_MS);
  timer.unref();
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
}

function processMetrics(delays: DelayHistogram): MetricFamily[] {
  const { rss, heapTotal, heapUsed, external, arrayBuffers } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const startedS = performance.timeOrigin / 1000;
  return [
    gauge('freshet_build_info', 'The version that runs, and on what', [
      { labels: { version: VERSION, runtime: RUNTIME }, value: 1 },
    ]),
    gauge('process_start_time_seconds', 'When the process was started, seconds since the Unix epoch', startedS),
    counter('process_cpu_seconds_total', 'Processor time of all threads, seconds', (user + system) / 1e6),
    gauge('process_resident_memory_bytes', 'Memory that the process has', rss),
    gauge('nodejs_heap_size_total_bytes', 'The heap of the main thread', heapTotal),
    gauge('nodejs_heap_size_used_bytes', 'What of it is in use, or not collected yet', heapUsed),
    gauge('nodejs_external_memory_bytes', 'Memory outside the heap that objects in it hold', external),
    gauge('nodejs_array_buffers_bytes', 'What of that are buffers', arrayBuffers),
    delays.metrics(
      'freshet_event_loop_delay_seconds',
      'By how much a timer of 100 ms was late: how long anything had to wait for the main thread',
    ),
  ];
}
