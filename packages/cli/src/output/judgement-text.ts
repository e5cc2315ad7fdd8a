/** Judgements of contracts for people. Owns the words and the colours; the verdicts are the registry's. */
import { type ContractJudgement, ContractVerdict } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { type Colour, paint, type Terminal } from './terminal.ts';

const VERDICTS: Readonly<Record<number, { readonly word: string; readonly colour: Colour }>> = {
  [ContractVerdict.COMPATIBLE]: { word: 'compatible', colour: 'green' },
  [ContractVerdict.COMPATIBLE_WITH_NOTE]: { word: 'note', colour: 'yellow' },
  [ContractVerdict.BREAKING]: { word: 'breaking', colour: 'red' },
};

/** A line for each change, and below it everybody who reads it. */
export function judgementText(terminal: Pick<Terminal, 'colours'>, judgement: ContractJudgement): string {
  const lines: string[] = [];
  for (const change of judgement.changes) {
    const { word, colour } = VERDICTS[change.verdict] ?? { word: 'unknown', colour: 'dim' as const };
    lines.push(`${paint(terminal, colour, word)} source ${judgement.source}: ${change.sentence}`);
    for (const { features, services, owners, view } of change.consumers) {
      lines.push(`    view ${view}${features.length === 0 ? '' : `, features ${features.join(', ')}`}`);
      if (services.length > 0) lines.push(`    services ${services.join(', ')}`);
      if (owners.length > 0) lines.push(`    owners ${owners.join(', ')}`);
    }
  }
  return lines.map((line) => `${line}\n`).join('');
}
