/**
 * Goal: what is told is what a collector reads, whatever is in it. Method: examples against the format's text, and any
 * labels and numbers read back by a reader of the format (testing/read-exposition.ts).
 */

import { create } from '@bufbuild/protobuf';
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { ConditionSchema, Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CallCounts } from './call-counts.ts';
import { conditionMetrics } from './condition-metrics.ts';
import { counter, expositionOf, gauge } from './exposition.ts';
import { DelayHistogram } from './process-metrics.ts';
import { readExposition } from './read-exposition.testing.ts';

describe('metrics as text', () => {
  it('are told with their help and type, one line a series, and escaped', () => {
    const text = expositionOf([
      counter('rows_total', 'Rows; a \\ and\na line', [
        { labels: { shard: 0, table: 'a"b\\c\nd' }, value: 2n ** 60n },
        { value: 1.5 },
      ]),
      gauge('age', 'An age', -Infinity),
      gauge('none', 'Nothing', []),
    ]);
    expect(text).toBe(
      [
        '# HELP rows_total Rows; a \\\\ and\\na line',
        '# TYPE rows_total counter',
        'rows_total{shard="0",table="a\\"b\\\\c\\nd"} 1152921504606846976',
        'rows_total 1.5',
        '# HELP age An age',
        '# TYPE age gauge',
        'age -Inf',
        '# HELP none Nothing',
        '# TYPE none gauge',
        '',
      ].join('\n'),
    );
  });

  it('are read back as they were told, whatever the values of labels are', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.double(), (label, value) => {
        const [read] = readExposition(expositionOf([gauge('some', label, [{ labels: { label }, value }])]));
        expect(read).toEqual({ name: 'some', type: 'gauge', labels: { label }, value: value === 0 ? 0 : value });
      }),
    );
  });

  it('are refused where a name is none, is told twice, or is of no counter', () => {
    expect(() => expositionOf([gauge('a-b', '', 1)])).toThrow('a-b');
    expect(() => expositionOf([gauge('a', '', 1), gauge('a', '', 2)])).toThrow('only one');
    expect(() => expositionOf([gauge('a', '', [{ labels: { 'x y': 1 }, value: 1 }])])).toThrow('x y');
    expect(() => counter('rows', '', 1)).toThrow('_total');
  });
});

describe('delays', () => {
  it('are told as a histogram whose buckets hold all that is below them', () => {
    const delays = new DelayHistogram();
    for (const seconds of [-0.001, 0.005, 0.03, 0.03, 7]) delays.add(seconds);
    const read = readExposition(expositionOf([delays.metrics('late', 'By how much')]));
    const bucket = (le: string): number | undefined => read.find(({ labels }) => labels['le'] === le)?.value;
    expect(['0.005', '0.025', '0.05', '5', '+Inf'].map(bucket)).toEqual([2, 2, 4, 4, 5]);
    expect(read.find(({ name }) => name === 'late_count')?.value).toBe(5);
    expect(read.find(({ name }) => name === 'late_sum')?.value).toBeCloseTo(7.065);
  });
});

describe('calls', () => {
  it('are told by method and code, also a method that nobody called', () => {
    const counts = new CallCounts();
    counts.of(LogService.method.describeLog);
    const reads = counts.of(LogService.method.readLog);
    reads.ok += 1;
    for (const code of ['CANCELLED', 'CANCELLED', 'UNAVAILABLE'] as const) reads.fail(code);
    expect(counts.of(LogService.method.readLog)).toBe(reads);
    const read = readExposition(expositionOf([counts.metrics()]));
    expect(read.map(({ labels, value }) => [labels['method'], labels['code'], value])).toEqual([
      ['DescribeLog', 'OK', 0],
      ['ReadLog', 'OK', 1],
      ['ReadLog', 'CANCELLED', 2],
      ['ReadLog', 'UNAVAILABLE', 1],
    ]);
  });
});

it('conditions are told while they hold, and counted by severity', () => {
  const conditions = [
    create(ConditionSchema, { id: 'shard/0/down', code: 'DISK_FULL', severity: Severity.PROBLEM }),
    create(ConditionSchema, { id: 'x', code: 'INTERNAL' }),
  ];
  const read = readExposition(expositionOf(conditionMetrics(conditions)));
  expect(read.map(({ labels, value }) => [...Object.values(labels), value])).toEqual([
    ['shard/0/down', 'DISK_FULL', 'problem', 1],
    ['x', 'INTERNAL', 'warning', 1],
    ['note', 0],
    ['warning', 1],
    ['problem', 1],
  ]);
});
