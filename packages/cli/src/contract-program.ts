/** `freshet contract` and its subcommands: how they are called. What they do is commands/contract.ts. */
import { parsers } from '@freshet/kit/config.ts';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  acceptCommand,
  type CheckOptions,
  type ContractOptions,
  checkCommand,
  listCommand,
  showCommand,
} from './commands/contract.ts';
import { EXIT } from './output/errors.ts';
import type { Terminal } from './output/terminal.ts';

/** Adds the command. `fail` ends it with exit code 1, once everything is told. */
export function addContract(program: Command, terminal: Terminal, fail: () => never): void {
  const group = program
    .command('contract')
    .summary('what sources promise, and whom a change would hurt')
    .description(
      'Shows the contracts of sources, judges a change before it is made, and accepts a new shape of a table.',
    );
  const sub = (name: string, summary: string): Command =>
    group
      .command(name)
      .summary(summary)
      .description(`${summary}.`)
      .addOption(registryOption(terminal))
      .option('--json', 'the result as JSON');
  sub('list', 'The newest contract of each source').action((options: ContractOptions) =>
    listCommand(terminal, options),
  );
  sub('show', "A source's columns, and the versions of its contract")
    .argument('<source>', 'the source')
    .action((source: string, options: ContractOptions) => showCommand(terminal, source, options));
  sub('check', 'Whom a change would hurt: of a DDL, or of the tables as they are now')
    .argument('[sources...]', 'only these sources')
    .option('--ddl <sql>', 'the statements, or @file; without, the live tables are looked at')
    .option(
      '--database <url>',
      'run the statements there, in a transaction that is rolled back; a URL, or @file with one',
    )
    .addOption(limitOption('--lock-timeout <duration>', 'with --database: how long to wait for a lock', 2_000, '2s'))
    .addOption(limitOption('--statement-timeout <duration>', 'with --database: how long one may run', 30_000, '30s'))
    .addHelpText(
      'after',
      "\nExamples:\n  freshet contract check --ddl 'ALTER TABLE orders ALTER sku TYPE varchar(10)'\n  freshet contract check orders --json\n" +
        '  freshet contract check --database @staging.url --ddl @migration.sql\n' +
        '\nThe exit code is 1 when somebody is hurt, or when a statement was not understood.\n',
    )
    .action(async (sources: string[], options: CheckOptions, command: Command) => {
      if (options.database !== undefined && options.ddl === undefined)
        command.error('error: --database needs --ddl', { exitCode: EXIT.usage });
      if (!(await checkCommand(terminal, sources, options))) fail();
    });
  sub('accept', 'Take the tables as they are now for the contracts of the definitions in force')
    .option('-y, --yes', 'accept what is shown; without, it is only shown')
    .option('-m, --message <text>', 'why, for the history')
    .action(async (options: ContractOptions & { yes?: boolean; message?: string }) => {
      if (!(await acceptCommand(terminal, options))) fail();
    });
}

function limitOption(flags: string, about: string, fallbackMs: number, shown: string): Option {
  const parse = (text: string): number => {
    try {
      return parsers.milliseconds(text);
    } catch (error) {
      throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
    }
  };
  return new Option(flags, about).argParser(parse).default(fallbackMs, shown);
}

function registryOption(terminal: Terminal): Option {
  const parse = (text: string): string => {
    try {
      return parsers.address(text);
    } catch (error) {
      throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
    }
  };
  const option = new Option('--registry <address>', 'the registry; or FRESHET_REGISTRY').argParser(parse);
  return option.default(terminal.env['FRESHET_REGISTRY'] ?? '127.0.0.1:7404');
}
