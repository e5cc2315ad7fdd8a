/**
 * The world as a command sees it: where it writes, what it may ask, when it must stop. Given by main.ts, and by tests.
 * Owns colours (only on a terminal, and never when NO_COLOR is set); does not own what is written.
 */
import type { Clock } from '@freshet/kit/clock.ts';

export interface Terminal {
  /** Results. */
  readonly out: (text: string) => void;
  /** Progress, notes and errors. */
  readonly err: (text: string) => void;
  /** Whether a person reads what is written to `out`. */
  readonly interactive: boolean;
  readonly colours: boolean;
  /** How many characters a line on the terminal has now; undefined when that is not known. */
  readonly columns?: (() => number | undefined) | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts when the person wants to stop. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** Asks a yes-or-no question; undefined when nobody is there to answer. */
  readonly confirm: ((question: string) => Promise<boolean>) | undefined;
  /** Registers what to do when the person will not wait for a clean stop. */
  readonly onImpatience: (kill: () => void) => void;
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;
export type Colour = keyof typeof CODES;

/** The text in a colour, or as it is where there are none. */
export function paint(terminal: Pick<Terminal, 'colours'>, colour: Colour, text: string): string {
  return terminal.colours ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text;
}
