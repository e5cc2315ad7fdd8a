/** What the modules that add commands share: the form of a subcommand, addresses, examples. Owns no command. */
import { parsers } from '@freshet/kit/config.ts';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Terminal } from './output/terminal.ts';

/** A subcommand with what all of them share. */
export function subcommand(program: Command, name: string): Command {
  return program.command(name).showHelpAfterError(`('freshet ${name} --help' shows how it is used)`);
}

/** The registry's address from the option, else from FRESHET_REGISTRY, else the default. */
export function registryOption(terminal: Terminal): Option {
  const option = new Option('--registry <address>', 'the registry; or FRESHET_REGISTRY').argParser((text) =>
    parsedBy(parsers.address, text),
  );
  return option.default(terminal.env['FRESHET_REGISTRY'] ?? '127.0.0.1:7404');
}

/** What the parser makes of the text, with its complaint in the form that commander shows. */
export function parsedBy<T>(parse: (text: string) => T, text: string): T {
  try {
    return parse(text);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

/** A positive whole number of 64 bits. */
export function positive(text: string): bigint {
  if (!/^[1-9]\d{0,18}$/.test(text)) throw new InvalidArgumentError('write a whole number above zero');
  return BigInt(text);
}

export function collectTexts(text: string, previous: string[]): string[] {
  return [...previous, text];
}
