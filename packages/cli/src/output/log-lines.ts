/**
 * Log lines of several processes in one terminal: each with its process in front, readable for people, untouched for
 * programs. Lines that are not JSON (a crash of Node) pass as they are.
 */
import { type Colour, paint, type Terminal } from './terminal.ts';

const COLOURS: readonly Colour[] = ['cyan', 'magenta', 'blue', 'green'];
const LEVEL_COLOURS: Readonly<Record<string, Colour>> = { warn: 'yellow', error: 'red', debug: 'dim' };
const NAME_WIDTH = 8;

/** Writes a line of a process to the terminal's error stream. */
export function lineWriter(
  terminal: Terminal,
  options: { readonly json: boolean; readonly quiet: boolean },
): (process: string, line: string) => void {
  const colours = new Map<string, Colour>();
  return (process, line) => {
    const entry = parse(line);
    if (options.quiet && entry !== undefined && entry.level !== 'warn' && entry.level !== 'error') return;
    if (options.json) {
      terminal.err(`${entry === undefined ? JSON.stringify({ service: process, line }) : line}\n`);
      return;
    }
    const colour = colours.get(process) ?? COLOURS[colours.size % COLOURS.length] ?? 'dim';
    colours.set(process, colour);
    terminal.err(
      `${paint(terminal, colour, `${process.padEnd(NAME_WIDTH)}│`)} ${entry === undefined ? line : entryText(terminal, entry)}\n`,
    );
  };
}

interface Entry {
  readonly time: string;
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function parse(line: string): Entry | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const { time, level, message, service: _, ...fields } = JSON.parse(line) as Record<string, unknown>;
    if (typeof time !== 'string' || typeof level !== 'string' || typeof message !== 'string') return undefined;
    return { time, level, message, fields };
  } catch {
    return undefined;
  }
}

function entryText(terminal: Terminal, { time, level, message, fields }: Entry): string {
  const colour = LEVEL_COLOURS[level];
  const mark = level === 'info' ? '' : `${colour === undefined ? level : paint(terminal, colour, level)} `;
  const rest = Object.entries(fields)
    .map(([key, value]) => `${key}=${fieldText(value)}`)
    .join(' ');
  return `${paint(terminal, 'dim', time.slice(11, 23))} ${mark}${message}${rest === '' ? '' : ` ${paint(terminal, 'dim', rest)}`}`;
}

function fieldText(value: unknown): string {
  if (typeof value === 'string') return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
  if (typeof value === 'object' && value !== null && 'message' in value && typeof value.message === 'string')
    return JSON.stringify(value.message);
  return JSON.stringify(value);
}
