/** A question before what cannot be taken back. Owns what a missing answer and a no mean: nothing is done. */
import { FreshetError } from '@freshet/kit/errors.ts';
import { CommanderError } from 'commander';
import { EXIT } from './errors.ts';
import type { Terminal } from './terminal.ts';

/**
 * Resolves when somebody says yes. Throws CANCELLED for a no, and ends with the exit code of wrong usage when nobody is
 * there to ask: a script must say --yes. `undone` is what did not happen then: "nothing was applied".
 */
export async function askFirst(
  terminal: Terminal,
  question: string,
  { command, undone }: { readonly command: string; readonly undone: string },
): Promise<void> {
  if (terminal.confirm === undefined) {
    terminal.err(`error: nobody is there to say yes; ${undone}; give --yes to do it without asking\n`);
    throw new CommanderError(EXIT.usage, command, 'nobody is there to say yes');
  }
  if (!(await terminal.confirm(question))) {
    throw new FreshetError('CANCELLED', undone, { remedy: 'answer y, or give --yes' });
  }
}
