/** The commands about definitions in force: history, rollback, search, lineage, sources. Owns how they are called. */
import { parsers } from '@freshet/kit/config.ts';
import { Argument, type Command, Option } from 'commander';
import { collectTexts, parsedBy, positive, registryOption, subcommand } from './command-parts.ts';
import type { ApplyOptions } from './commands/apply.ts';
import { type HistoryOptions, historyCommand, rollbackCommand } from './commands/history.ts';
import { lineageCommand } from './commands/lineage.ts';
import { KIND_NAMES, type SearchOptions, searchCommand } from './commands/search.ts';
import { releaseSourceCommand, sourcesCommand } from './commands/sources.ts';
import type { Terminal } from './output/terminal.ts';

export function addDefinitions(program: Command, terminal: Terminal): void {
  addHistory(program, terminal);
  addRollback(program, terminal);
  addSearch(program, terminal);
  addLineage(program, terminal);
  addSources(program, terminal);
}

function addHistory(program: Command, terminal: Terminal): void {
  subcommand(program, 'history')
    .summary('who applied which definitions, and when')
    .addOption(registryOption(terminal))
    .addOption(limitOption(20))
    .option('--before <number>', 'only applies before that one', positive)
    .option('--changes', 'what each of them changed')
    .option('--json', 'the history as JSON')
    .action((options: HistoryOptions) => historyCommand(terminal, options));
}

function addRollback(program: Command, terminal: Terminal): void {
  subcommand(program, 'rollback')
    .summary('put the definitions of an earlier generation in force again')
    .description(
      'Plans the definitions of an earlier generation against the tables as they are now, shows the plan, asks, and ' +
        'applies it as a new generation. The definitions of the last 100 applies are kept.',
    )
    .argument('[generation]', 'the generation; default: the one before that in force', positive)
    .addOption(registryOption(terminal))
    .option('-y, --yes', 'do not ask')
    .option('-m, --message <text>', 'why, for the history')
    .option('--accept-contracts', 'also when a table changed so that it hurts who reads it')
    .option('--no-wait', 'do not wait until the features are served')
    .addOption(
      new Option('--timeout <duration>', 'how long to wait until they are served')
        .argParser((text) => parsedBy(parsers.milliseconds, text))
        .default(600_000, '10m'),
    )
    .option('--json', 'the result as JSON')
    .action((generation: bigint | undefined, options: ApplyOptions) => rollbackCommand(terminal, generation, options));
}

function addSearch(program: Command, terminal: Terminal): void {
  subcommand(program, 'search')
    .summary('find definitions by name, description, owner and tag')
    .argument('[words...]', 'words that must all be there')
    .addOption(registryOption(terminal))
    .option('--tag <tag>', 'that has the tag; may be repeated', collectTexts, [])
    .option('--owner <owner>', 'that the owner answers for')
    .addOption(kindOption())
    .addOption(limitOption(100))
    .option('--json', 'what was found as JSON')
    .action((words: string[], options: SearchOptions) => searchCommand(terminal, words, options));
}

function kindOption(): Option {
  const names = Object.keys(KIND_NAMES).filter((name) => name !== 'column' && name !== 'reader');
  return new Option('--kind <kind>', `of that kind; may be repeated: ${names.join(', ')}`)
    .argParser((text: string, previous: string[]) => [...previous, parsedBy(parsers.oneOf(...names), text)])
    .default([], 'all');
}

function addLineage(program: Command, terminal: Terminal): void {
  const kinds = Object.keys(KIND_NAMES).filter((name) => name !== 'entity');
  subcommand(program, 'lineage')
    .summary('what something is made of, and what is made of it')
    .addArgument(new Argument('<kind>', 'what it is').choices(kinds))
    .argument('<name>', 'its name: public.orders.amount, user_spend:spend_1h, recommendations')
    .addOption(registryOption(terminal))
    .option('--json', 'the graph as JSON')
    .action((kind: string, name: string, options: { registry: string; json?: boolean }) =>
      lineageCommand(terminal, kind, name, options),
    );
}

function addSources(program: Command, terminal: Terminal): void {
  const group = subcommand(program, 'sources')
    .summary('which node captures which database')
    .addOption(registryOption(terminal))
    .option('--json', 'them as JSON')
    .action((options: { registry: string; json?: boolean }) => sourcesCommand(terminal, options));
  subcommand(group, 'release')
    .summary('free a database whose node is gone for good')
    .argument('<database>', "as 'freshet sources' shows it")
    .requiredOption('--node <id>', 'the node that holds it')
    .option('--force', 'although the node has a lease')
    // The registry is an option of the group.
    .action((database: string, _options: unknown, command: Command) =>
      releaseSourceCommand(
        terminal,
        database,
        command.optsWithGlobals<{ node: string; force?: boolean; registry: string }>(),
      ),
    );
}

function limitOption(fallback: number): Option {
  return new Option('--limit <number>', 'at most so many')
    .argParser((text) => parsedBy(parsers.integer(1, 1000), text))
    .default(fallback);
}
