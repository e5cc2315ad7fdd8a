/**
 * Metrics as text: the Prometheus text exposition format 0.0.4, which every collector reads. Pure.
 *
 * Owns the form: names, HELP and TYPE, escaping, numbers. Does not own what is measured (each service's core/metrics.ts)
 * or the port (metrics-path.ts). Written here and not taken from a library: everything that is told is known already when it
 * is asked for, so there is nothing to register, aggregate or export, and what is left of a library is this file.
 *
 * A label never holds what a caller or a row decides: no key, no address, no message. So the number of series is bounded by
 * shards, databases, methods and names in definitions.
 */
import { assert } from '../assert.ts';

/** The type of what expositionOf() makes. */
export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export interface Sample {
  readonly labels?: Readonly<Record<string, string | number>> | undefined;
  readonly value: number | bigint;
}

/** One metric, with all its series. Without a series it is still told that there is such a metric. */
export interface MetricFamily {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** What it is, in a sentence. */
  readonly help: string;
  readonly samples: readonly (Sample & {
    /** Of a histogram: "_bucket", "_sum" or "_count". */
    readonly suffix?: string;
  })[];
}

type Samples = number | bigint | readonly Sample[];

/** What only grows while the process lives. */
export function counter(name: string, help: string, samples: Samples): MetricFamily {
  assert(name.endsWith('_total'), `${name}: the name of a counter ends in _total`);
  return { name, type: 'counter', help, samples: listOf(samples) };
}

/** What is so now. */
export function gauge(name: string, help: string, samples: Samples): MetricFamily {
  return { name, type: 'gauge', help, samples: listOf(samples) };
}

const NAME = /^[a-z_:][a-z0-9_:]*$/;
const LABEL = /^[a-z_][a-z0-9_]*$/;

/** All of it as text. */
export function expositionOf(families: readonly MetricFamily[]): string {
  const names = new Set<string>();
  const lines: string[] = [];
  for (const { name, type, help, samples } of families) {
    assert(NAME.test(name) && !names.has(name), `${name} is a name, and the only one of its kind`);
    names.add(name);
    lines.push(`# HELP ${name} ${escaped(help)}`, `# TYPE ${name} ${type}`);
    for (const { suffix = '', labels, value } of samples)
      lines.push(`${name}${suffix}${labelsText(labels)} ${numberText(value)}`);
  }
  lines.push('');
  return lines.join('\n');
}

function listOf(samples: Samples): readonly Sample[] {
  return typeof samples === 'number' || typeof samples === 'bigint' ? [{ value: samples }] : samples;
}

function labelsText(labels: Sample['labels']): string {
  const pairs = Object.entries(labels ?? {}).map(([name, value]) => {
    assert(LABEL.test(name), `${name} is the name of a label`);
    return `${name}="${escaped(String(value).toWellFormed()).replaceAll('"', '\\"')}"`;
  });
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function numberText(value: number | bigint): string {
  if (value === Infinity) return '+Inf';
  if (value === -Infinity) return '-Inf';
  return String(value);
}
