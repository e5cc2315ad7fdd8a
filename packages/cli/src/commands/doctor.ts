/** freshet doctor: everything that keeps a mesh from working, each with its remedy; exit code 1 when there is a problem. */
import { access } from 'node:fs/promises';
import { examine } from '../doctor/examine.ts';
import { AREAS, type Finding, LEVELS, type Level } from '../doctor/finding.ts';
import { type Colour, paint, type Terminal } from '../output/terminal.ts';

export interface DoctorOptions {
  /** The configuration; by default freshet.yaml, if it is there. */
  readonly file?: string | undefined;
  readonly registry?: string | undefined;
  readonly json?: boolean | undefined;
  /** Tells also what is well. */
  readonly all?: boolean | undefined;
}

const DEFAULT_FILE = 'freshet.yaml';

/** Resolves with whether there is no problem. */
export async function doctorCommand(terminal: Terminal, options: DoctorOptions): Promise<boolean> {
  const { env, clock, signal } = terminal;
  const registry = options.registry ?? env['FRESHET_REGISTRY'];
  const findings = await examine({ file: await fileOf(options.file, registry), registry, env, clock, signal });
  terminal.out(options.json === true ? doctorJson(findings) : doctorText(terminal, findings, options.all === true));
  return findings.every(({ level }) => level !== 'problem');
}

/** Whoever names a registry and no file may have none here. */
async function fileOf(file: string | undefined, registry: string | undefined): Promise<string | undefined> {
  if (file !== undefined || registry === undefined) return file ?? DEFAULT_FILE;
  return access(DEFAULT_FILE).then(
    () => DEFAULT_FILE,
    () => undefined,
  );
}

const COLOURS: Readonly<Record<Level, Colour>> = { ok: 'green', note: 'blue', warning: 'yellow', problem: 'red' };
const MARK_WIDTH = 'warning'.length;

function doctorText(terminal: Terminal, findings: readonly Finding[], all: boolean): string {
  const sections = AREAS.flatMap((area) => {
    const found = findings.filter((finding) => finding.area === area);
    if (found.length === 0) return [];
    const shown = all ? found : found.filter(({ level }) => level !== 'ok');
    const well = found.length - shown.length;
    const title = paint(terminal, 'bold', area) + (well === 0 ? '' : paint(terminal, 'dim', `  ${well} ok`));
    return [`${title}\n${shown.map((finding) => findingText(terminal, finding)).join('')}`];
  });
  return `${sections.join('')}\n${summary(terminal, findings)}\n`;
}

function findingText(terminal: Terminal, { level, message, remedy, place }: Finding): string {
  const mark = paint(terminal, COLOURS[level], level.padEnd(MARK_WIDTH));
  const at = place === undefined || place === '' ? '' : paint(terminal, 'dim', `  ${place}`);
  const indent = ' '.repeat(MARK_WIDTH + 4);
  const fix =
    remedy === undefined || remedy === ''
      ? ''
      : `${indent}${paint(terminal, 'green', 'fix')} ${remedy.replaceAll('\n', `\n${indent}    `)}\n`;
  return `  ${mark}  ${message}${at}\n${fix}`;
}

function summary(terminal: Terminal, findings: readonly Finding[]): string {
  const counts = countsOf(findings);
  const { problem, warning, note } = counts;
  if (problem + warning + note === 0) return paint(terminal, 'green', `all ${counts.ok} looks are well`);
  const words = [
    [problem, 'problem', 'red'],
    [warning, 'warning', 'yellow'],
    [note, 'note', 'blue'],
  ] as const;
  const told = words
    .filter(([count]) => count > 0)
    .map(([count, word, colour]) => paint(terminal, colour, `${count} ${word}${count === 1 ? '' : 's'}`));
  return `${told.join(', ')}; ${counts.ok} ok`;
}

function doctorJson(findings: readonly Finding[]): string {
  return `${JSON.stringify({ ...countsOf(findings), findings })}\n`;
}

function countsOf(findings: readonly Finding[]): Record<Level, number> {
  const count = (level: Level): number => findings.filter((finding) => finding.level === level).length;
  return Object.fromEntries(LEVELS.map((level) => [level, count(level)])) as Record<Level, number>;
}
