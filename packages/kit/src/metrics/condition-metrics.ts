/** What is not as it should be, as metrics. Pure; at most as many series as a board lists conditions. */
import { type Condition, Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import { gauge, type MetricFamily } from './exposition.ts';

const NAMES: Readonly<Record<Severity, string>> = {
  [Severity.UNSPECIFIED]: 'warning',
  [Severity.NOTE]: 'note',
  [Severity.WARNING]: 'warning',
  [Severity.PROBLEM]: 'problem',
};

export function conditionMetrics(conditions: readonly Condition[]): MetricFamily[] {
  const samples = conditions.map(({ id, code, severity }) => ({
    labels: { id, code, severity: NAMES[severity] ?? 'warning' },
    value: 1,
  }));
  const counts = (['note', 'warning', 'problem'] as const).map((severity) => ({
    labels: { severity },
    value: samples.filter(({ labels }) => labels.severity === severity).length,
  }));
  return [
    gauge('freshet_condition', 'A condition that holds, as freshet status shows it; 1 for as long as it does', samples),
    gauge(
      'freshet_conditions',
      'How many conditions hold, by severity; 0 problems is what a healthy process has',
      counts,
    ),
  ];
}
