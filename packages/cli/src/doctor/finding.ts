/**
 * What the doctor says: findings, each with how much it matters and what to do about it. Owns the words of a finding;
 * what is found is judged in the judge-*.ts beside, purely, over facts that gather-*.ts read.
 */

/** What is looked at, in the order in which it is told. */
export const AREAS = [
  'configuration',
  'machine',
  'disks',
  'ports',
  'processes',
  'databases',
  'clocks',
  'services',
] as const;
export type Area = (typeof AREAS)[number];

/** From what is well to what stands still or is lost until somebody acts. */
export const LEVELS = ['ok', 'note', 'warning', 'problem'] as const;
export type Level = (typeof LEVELS)[number];

export interface Finding {
  readonly area: Area;
  readonly level: Level;
  /** What is so, in a sentence. */
  readonly message: string;
  /** What to do about it: a sentence, a command or SQL to paste. */
  readonly remedy?: string | undefined;
  /** Where: a directory, an address, a database, a node. */
  readonly place?: string | undefined;
}

export interface FindingText {
  readonly message: string;
  readonly remedy?: string | undefined;
  readonly place?: string | undefined;
}

/** Gathers the findings of one area. */
export class Findings {
  readonly list: Finding[] = [];
  readonly #area: Area;

  constructor(area: Area) {
    this.#area = area;
  }

  ok(message: string, place?: string): void {
    this.list.push({ area: this.#area, level: 'ok', message, place });
  }

  note(text: FindingText): void {
    this.list.push({ area: this.#area, level: 'note', ...text });
  }

  warning(text: FindingText): void {
    this.list.push({ area: this.#area, level: 'warning', ...text });
  }

  problem(text: FindingText): void {
    this.list.push({ area: this.#area, level: 'problem', ...text });
  }
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** "3.4 GiB" */
export function bytesText(bytes: number | bigint): string {
  let size = Number(bytes);
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${UNITS[unit] ?? 'B'}`;
}
