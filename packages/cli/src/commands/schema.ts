/** `freshet schema`: the JSON Schema of definition files, for editors. Needs no mesh. Owns how it is called. */
import { writeFile } from 'node:fs/promises';
import { editorSchema } from '@freshet/definitions/editor-schema.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Command } from 'commander';
import { subcommand } from '../command-parts.ts';
import type { Terminal } from '../output/terminal.ts';

export function addSchema(program: Command, terminal: Terminal): void {
  subcommand(program, 'schema')
    .summary('print the JSON Schema of definition files, for editors')
    .description(
      'Prints the JSON Schema (2020-12) of entities, sources, views and services, by which an editor completes and ' +
        'checks them as you write. What needs the tables to know, `freshet plan` checks.',
    )
    .option('-o, --out <file>', 'write it to a file instead; what is there is replaced')
    .addHelpText(
      'after',
      '\nExample:\n  freshet schema --out freshet.schema.json\n' +
        '  and, as the first line of a definition file:\n' +
        '  # yaml-language-server: $schema=freshet.schema.json\n',
    )
    .action((options: { out?: string }) => schemaCommand(terminal, options));
}

async function schemaCommand(terminal: Terminal, options: { readonly out?: string }): Promise<void> {
  const text = `${JSON.stringify(editorSchema(), undefined, 2)}\n`;
  if (options.out === undefined) {
    terminal.out(text);
    return;
  }
  try {
    await writeFile(options.out, text, { signal: terminal.signal });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || code === 'ABORT_ERR') throw error;
    throw new FreshetError('INVALID_REQUEST', `the schema cannot be written to ${options.out}: ${code}`, {
      remedy: 'name a file in a directory that is there and that you may write to',
      place: options.out,
      cause: error,
    });
  }
  terminal.err(`${options.out} is written\n`);
}
