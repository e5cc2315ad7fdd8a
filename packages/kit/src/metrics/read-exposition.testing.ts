/** For tests: a strict reader of the Prometheus text format. Throws at whatever is not of it. */
import { must } from '../assert.ts';

export interface ReadSample {
  readonly name: string;
  readonly type: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const HELP = /^# HELP ([a-zA-Z_:][\w:]*) (?:[^\\]|\\[\\n])*$/;
const TYPE = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram)$/;
const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{((?:[^"\\]|"(?:[^"\\]|\\[\\n"])*")*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\[\\n"])*)"(?:,|$)/y;
const UNESCAPED: Readonly<Record<string, string>> = { '\\\\': '\\', '\\n': '\n', '\\"': '"' };

/** Every series; each belongs to the family above it, which has its HELP and its TYPE. */
export function readExposition(text: string): ReadSample[] {
  const samples: ReadSample[] = [];
  const seen = new Set<string>();
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  let [family, type] = ['', ''];
  for (const line of text.slice(0, -1).split('\n')) {
    const help = HELP.exec(line);
    const typed = TYPE.exec(line);
    if (help !== null) {
      [family, type] = [must(help[1]), ''];
      continue;
    }
    if (typed !== null) {
      if (typed[1] !== family || type !== '') throw new Error(`a TYPE without its HELP: ${line}`);
      type = must(typed[2]);
      continue;
    }
    const [, name, labels, value] = SAMPLE.exec(line) ?? [];
    const suffix = name?.slice(family.length);
    const isOf = name?.startsWith(family) && (type === 'histogram' ? suffix !== '' : suffix === '');
    if (name === undefined || value === undefined || type === '' || isOf !== true) throw new Error(`no line: ${line}`);
    const series = line.slice(0, -value.length);
    if (seen.has(series)) throw new Error(`told twice: ${line}`);
    seen.add(series);
    samples.push({ name, type, labels: readLabels(labels ?? ''), value: readNumber(value) });
  }
  return samples;
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (LABEL.lastIndex = 0; LABEL.lastIndex < text.length; ) {
    const [, name, value] = LABEL.exec(text) ?? [];
    if (name === undefined || value === undefined || name in labels) throw new Error(`no labels: ${text}`);
    labels[name] = value.replace(/\\[\\n"]/g, (pair) => must(UNESCAPED[pair]));
  }
  return labels;
}

function readNumber(text: string): number {
  if (text === '+Inf') return Infinity;
  if (text === '-Inf') return -Infinity;
  if (text !== 'NaN' && !/^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/.test(text)) throw new Error(`no number: ${text}`);
  return Number(text);
}
