/**
 * The `freshet` command: its subcommands, options and help. Owns how it is called and its exit codes; what each
 * subcommand does is one file in commands/.
 */

import { parsers } from '@freshet/kit/config.ts';
import { VERSION } from '@freshet/kit/version.ts';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { addDefinitions } from './add-definitions.ts';
import { addRegistry } from './add-registry.ts';
import { applyCommand } from './commands/apply.ts';
import { checkpointFilesCommand, takeCheckpointCommand } from './commands/checkpoint.ts';
import { doctorCommand } from './commands/doctor.ts';
import { type EraseOptions, eraseCommand } from './commands/erase.ts';
import { getCommand } from './commands/get.ts';
import { planCommand } from './commands/plan.ts';
import { addQuarantine } from './commands/quarantine.ts';
import { addSchema } from './commands/schema.ts';
import { statusCommand } from './commands/status.ts';
import { upCommand } from './commands/up.ts';
import { addContract } from './contract-program.ts';
import { EXIT, reportError } from './output/errors.ts';
import type { Terminal } from './output/terminal.ts';

const HELP_WIDTH = 100;

/** Runs the command with its arguments (without node and the file) and returns the exit code. Never throws. */
export async function runCli(args: readonly string[], terminal: Terminal): Promise<number> {
  const program = createProgram(terminal);
  // --json is looked for here as well, because wrong usage must be told before options are parsed.
  const json = args.includes('--json');
  try {
    await program.parseAsync([...args], { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof FoundProblems) return EXIT.failed;
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return reportError(terminal, error, json);
  }
}

export function createProgram(terminal: Terminal): Command {
  const program = new Command('freshet')
    .description('The edge-native real-time feature store.')
    .version(VERSION)
    .configureOutput({
      writeOut: terminal.out,
      writeErr: terminal.err,
      getOutHasColors: () => terminal.colours,
      getErrHasColors: () => terminal.colours,
      getOutHelpWidth: () => HELP_WIDTH,
      getErrHelpWidth: () => HELP_WIDTH,
    })
    .exitOverride()
    .showHelpAfterError("('freshet <command> --help' shows how it is used)")
    .addHelpText(
      'after',
      `${examples(
        ['freshet up -f freshet.yaml', 'run ingest, compute, serve and the registry on this machine'],
        ['freshet plan features/', 'what would change'],
        ['freshet apply features/', 'make it so, and wait until it is served'],
        ['freshet get recommendations --key user_id=42', "read one user's features"],
        ['freshet status', 'what every node is doing'],
        ['freshet doctor', 'what keeps a mesh from working, and what to do about it'],
      )}\nExit codes: 0 done, 1 failed, 2 used wrongly, 78 bad configuration.\n`,
    );
  addUp(program, terminal);
  addPlan(program, terminal);
  addApply(program, terminal);
  addGet(program, terminal);
  addStatus(program, terminal);
  addDoctor(program, terminal);
  addCheckpoint(program, terminal);
  addErase(program, terminal);
  addDefinitions(program, terminal);
  addContract(program, terminal, () => {
    throw new FoundProblems();
  });
  addQuarantine(program, terminal);
  addRegistry(program, terminal);
  addSchema(program, terminal);
  return program;
}

function addUp(program: Command, terminal: Terminal): void {
  sub(program, 'up')
    .summary('run a whole mesh on this machine')
    .description(
      'Runs the registry, ingest, compute and serve as processes of their own, keeps them running, and puts the ' +
        'definitions in force. Ctrl-C stops them in order; a second one kills them.',
    )
    .option('-f, --file <file>', 'the configuration', 'freshet.yaml')
    .option('--quiet', 'only warnings and errors of the processes')
    .option('--json', 'lines as the processes write them, in JSON')
    .addHelpText('after', UP_HELP)
    .action((options: { file: string; quiet?: boolean; json?: boolean }) => upCommand(terminal, options));
}

function addPlan(program: Command, terminal: Terminal): void {
  sub(program, 'plan')
    .summary('show what definitions would change')
    .description(
      'Checks the definitions against the live tables and shows what applying them would change. Changes nothing.',
    )
    .argument('<paths...>', 'files, or directories with .yaml files: together the whole set')
    .addOption(addressOption(terminal, 'registry', 'the registry', '127.0.0.1:7404'))
    .option('--json', 'the plan as JSON')
    .addHelpText('after', examples(['freshet plan features/'], ['freshet plan entities.yaml views.yaml --json']))
    .action((paths: string[], options: { registry: string; json?: boolean }) => planCommand(terminal, paths, options));
}

function addApply(program: Command, terminal: Terminal): void {
  sub(program, 'apply')
    .summary('put definitions in force')
    .description(
      'Plans, shows the plan, asks, applies exactly that plan, and waits until every compute shard and serve node has ' +
        'the new features complete. What is not in the files is dropped.',
    )
    .argument('<paths...>', 'files, or directories with .yaml files: together the whole set')
    .addOption(addressOption(terminal, 'registry', 'the registry', '127.0.0.1:7404'))
    .option('-y, --yes', 'do not ask')
    .option('-m, --message <text>', 'why, for the history')
    .option('--accept-contracts', 'also when a table changed so that it hurts who reads it')
    .option('--no-wait', 'do not wait until the features are served')
    .addOption(
      new Option('--timeout <duration>', 'how long to wait until they are served')
        .argParser(duration)
        .default(600_000, '10m'),
    )
    .option('--json', 'the result as JSON; progress as a JSON object a line, on the error output')
    .addHelpText(
      'after',
      `${examples(['freshet apply features/'], ['freshet apply features/ --yes --no-wait --json', 'in a pipeline'])}\nCtrl-C while it waits ends the waiting only: what was applied stays in force.\nThe exit code is 3 when a table changed so that it hurts who reads it, and --accept-contracts is not given.\n`,
    )
    .action(
      (paths: string[], options: { registry: string; yes?: boolean; wait: boolean; timeout: number; json?: boolean }) =>
        applyCommand(terminal, paths, options),
    );
}

function addGet(program: Command, terminal: Terminal): void {
  sub(program, 'get')
    .summary('read features of entities')
    .description("Reads a feature service's outputs, or the features named, for one entity or several.")
    .argument('[service]', 'the feature service')
    .option('--features <list>', 'instead of a service: view:feature or view:*, by commas', list)
    .option('-k, --key <column=value>', 'a key column; a column given again begins the next entity', collect)
    .option(
      '-r, --request <field=value>',
      'request data of the service, for all entities; given again, for each; the field alone is null',
      collectFields,
    )
    .addOption(addressOption(terminal, 'serve', 'the serve node', '127.0.0.1:7403'))
    .addOption(addressOption(terminal, 'registry', 'the registry', '127.0.0.1:7404'))
    .option('--json', 'the values as JSON; 64-bit integers as text')
    .addHelpText(
      'after',
      examples(
        ['freshet get recommendations --key user_id=42'],
        ['freshet get recommendations --key user_id=42 --key user_id=43', 'two users'],
        ['freshet get --features "user_clicks:*" --key user_id=42 --json'],
        ['freshet get stock --key shop=berlin --key product_id=7', 'a key of two columns'],
        ['freshet get checkout_risk --key user_id=42 --request cart_total=12.5', 'on-demand features'],
      ),
    )
    .action(
      (
        service: string | undefined,
        options: {
          features?: string[];
          key?: string[];
          request?: string[];
          serve: string;
          registry: string;
          json?: boolean;
        },
        command: Command,
      ) => {
        if ((service === undefined) === (options.features === undefined)) {
          command.error('error: name a service or --features, one of the two', { exitCode: EXIT.usage });
        }
        if (options.key === undefined)
          command.error('error: --key is missing, such as --key user_id=42', { exitCode: EXIT.usage });
        return getCommand(terminal, service, { ...options, key: options.key ?? [] });
      },
    );
}

function addStatus(program: Command, terminal: Terminal): void {
  sub(program, 'status')
    .summary('show what every node is doing')
    .description('Asks the registry which nodes there are, and each of them what it is doing.')
    .addOption(addressOption(terminal, 'registry', 'the registry', '127.0.0.1:7404'))
    .option('--json', 'everything as JSON')
    .addHelpText('after', examples(['freshet status'], ['freshet status --registry 10.0.0.7:7404 --json']))
    .action((options: { registry: string; json?: boolean }) => statusCommand(terminal, options));
}

function addDoctor(program: Command, terminal: Terminal): void {
  sub(program, 'doctor')
    .summary('find what keeps a mesh from working')
    .description(
      'Looks at the configuration, this machine, its disks, ports and processes, the databases with their replication ' +
        'slots, the clocks, and a running mesh, and tells what is wrong with the remedy of each. Changes nothing.',
    )
    .option('-f, --file <file>', 'the configuration of freshet up (default: freshet.yaml)')
    .addOption(
      new Option(
        '--registry <address>',
        'a running registry, if not that of the configuration; or FRESHET_REGISTRY',
      ).argParser(address),
    )
    .option('--all', 'tell also what is well')
    .option('--json', 'the findings as JSON')
    .addHelpText(
      'after',
      `${examples(['freshet doctor'], ['freshet doctor -f deploy/mesh.yaml --all'], ['freshet doctor --registry 10.0.0.7:7404 --json'])}\nThe exit code is 1 when there is a problem; warnings and notes are none.\n`,
    )
    .action(async (options: { file?: string; registry?: string; all?: boolean; json?: boolean }) => {
      if (!(await doctorCommand(terminal, options))) throw new FoundProblems();
    });
}

/** What was found is told already; only the exit code is left. */
class FoundProblems extends Error {
  override readonly name = 'FoundProblems';
}

function addCheckpoint(program: Command, terminal: Terminal): void {
  const group = sub(program, 'checkpoint')
    .summary("list, verify, restore and take checkpoints of compute's state")
    .description(
      'Compute writes a verified copy of each shard every ten minutes, and restores one by itself when its store is ' +
        'damaged. These commands are for looking, and for a restore by hand.',
    );
  const actions = {
    list: 'the checkpoints there are',
    verify: 'read every checkpoint whole, and say whether it is right',
    restore: "put a shard's store aside and fill a new one from a checkpoint; compute must not run",
  } as const;
  for (const action of ['list', 'verify', 'restore'] as const) {
    const command = sub(group, action)
      .summary(actions[action])
      .requiredOption('--data-dir <dir>', "compute's data directory; below `freshet up` it is <data_dir>/compute")
      .option('--json', 'the result as JSON');
    if (action === 'restore') {
      command.requiredOption('--shard <number>', 'the shard').option('--file <name>', 'instead of the newest');
    } else {
      command.option('--shards <list>', 'some shards, such as 0,1,4-7');
    }
    command.action((options: { dataDir: string; shard?: string; shards?: string; file?: string; json?: boolean }) =>
      checkpointFilesCommand(terminal, action, { ...options, shards: options.shard ?? options.shards }),
    );
  }
  sub(group, 'take')
    .summary('take a checkpoint of a running compute node now')
    .addOption(addressOption(terminal, 'compute', 'the compute node', '127.0.0.1:7402'))
    .option('--shard <number>', 'a shard; may be repeated', collectNumber)
    .option('--json', 'the result as JSON')
    .action((options: { compute: string; shard?: number[]; json?: boolean }) =>
      takeCheckpointCommand(terminal, { ...options, shards: options.shard }),
    );
}

function addErase(program: Command, terminal: Terminal): void {
  sub(program, 'erase')
    .summary('forget an entity, with a receipt')
    .description(
      "Forgets an entity's rows, state and features in log, shards, replicas and quarantine, for good, and shows a receipt " +
        'that names every place. Delete its rows in the database first: what comes later is new. A node that cannot be ' +
        'reached stays open in the receipt; asking again by the receipt goes on.',
    )
    .argument('[entity]', "the entity's name")
    .argument('[key...]', "its key's columns, in order")
    .addOption(addressOption(terminal, 'registry', 'the registry', '127.0.0.1:7404'))
    .option('--receipt <id>', 'go on with an erase that was begun, or show its receipt')
    .option('--id <id>', 'the id of the new erase; default: the day and a random number')
    .option('--set-aside', 'also remove what nodes put aside because it was damaged')
    .option('--without <node>', 'a node that is gone for good, by its id; may be repeated', collectText)
    .addOption(
      new Option('--timeout <duration>', 'how long a node may take').argParser(duration).default(300_000, '5m'),
    )
    .option('-y, --yes', 'do not ask')
    .option('--json', 'the receipt as JSON')
    .addHelpText(
      'after',
      `${examples(
        ['freshet erase user 123'],
        ['freshet erase stock berlin 7 --yes --json', 'a key of two columns'],
        ['freshet erase --receipt 2026-11-23-1a2b3c4d', 'go on'],
      )}\nThe exit code is 1 as long as something is left to be done.\n`,
    )
    .action(async (entity: string | undefined, key: string[], options: EraseOptions, command: Command) => {
      if ((entity === undefined) === (options.receipt === undefined)) {
        command.error('error: name an entity and its key, or --receipt, one of the two', { exitCode: EXIT.usage });
      }
      if (!(await eraseCommand(terminal, entity, key, options))) throw new FoundProblems();
    });
}

/** A subcommand with what all of them share. */
function sub(program: Command, name: string): Command {
  return program.command(name).showHelpAfterError(`('freshet ${name} --help' shows how it is used)`);
}

/** An address from the option, else from FRESHET_<NAME>, else the default. */
function addressOption(terminal: Terminal, name: string, about: string, fallback: string): Option {
  const variable = `FRESHET_${name.toUpperCase()}`;
  const option = new Option(`--${name} <address>`, `${about}; or ${variable}`).argParser(address);
  return option.default(terminal.env[variable] ?? fallback);
}

const UP_HELP = `
The configuration, with its defaults:
  data_dir: .freshet               everything that is kept; relative to the file
  partitions: 8                    fixed for the life of data_dir
  host: 127.0.0.1
  ports: { registry: 7404, registry_http: 7414, ingest: 7401, ingest_http: 7411,
           compute: 7402, compute_http: 7412, serve: 7403, serve_http: 7413 }
                                   0: any free port
  postgres:                        required: databases by name, as a URL or { file: <a file that holds it> }
    default: postgres://app@localhost:5432/shop
  definitions: [features/]         files or directories to put in force at each start
  compute: { cache-bytes: 1GiB }   further options of a service (registry, ingest, compute, serve)

Examples:
  freshet up
  freshet up -f deploy/mesh.yaml --quiet
`;

/** The examples of a help text: commands with what they are for. */
function examples(...rows: readonly (readonly [command: string, about?: string])[]): string {
  const width = Math.max(...rows.map(([command]) => command.length));
  const lines = rows.map(([command, about]) =>
    about === undefined ? `  ${command}` : `  ${command.padEnd(width)}   ${about}`,
  );
  return `\nExamples:\n${lines.join('\n')}\n`;
}

function address(text: string): string {
  return parsed(parsers.address, text);
}

function duration(text: string): number {
  return parsed(parsers.milliseconds, text);
}

function parsed<T>(parse: (text: string) => T, text: string): T {
  try {
    return parse(text);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

function list(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function collect(value: string, previous: string[] = []): string[] {
  if (!/^[^=]+=/.test(value)) throw new InvalidArgumentError('write it as column=value, such as user_id=42');
  return [...previous, value];
}

function collectText(text: string, previous: string[] = []): string[] {
  return [...previous, text];
}

function collectFields(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

function collectNumber(text: string, previous: number[] = []): number[] {
  return [...previous, parsed(parsers.integer(0, 4095), text)];
}
