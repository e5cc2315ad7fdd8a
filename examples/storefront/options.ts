/** The storefront's command line. */
import { Command, InvalidArgumentError, Option } from 'commander';

export interface StorefrontOptions {
  /** Transactions a second. */
  readonly rate: number;
  /** Unattended: how long to let visitors in, after which everything is compared with SQL. */
  readonly seconds?: number;
  readonly json: boolean;
  /** A database to use instead of the embedded one. */
  readonly postgres?: string;
  readonly dataDir: string;
  readonly ports: 'free' | Record<string, never>;
  readonly verbose: boolean;
}

/** Reads the command line; prints help or a usage error and ends the process where that is called for. */
export function readOptions(args: readonly string[]): StorefrontOptions {
  const command = new Command('npm start --')
    .description('A shop on a real Postgres, its features live: captured as they commit, folded, replicated, served.')
    .option('--rate <commits>', 'transactions a second', wholeNumber(1, 100_000), 200)
    .option(
      '--seconds <n>',
      'run unattended for this long, then compare every served value with SQL',
      wholeNumber(1, 86_400),
    )
    .option('--json', 'unattended: end with one JSON line', false)
    .option('--postgres <url>', 'your own database instead of the embedded one')
    .option('--data-dir <directory>', 'where everything is kept; starting again resumes', '.freshet/storefront')
    .addOption(new Option('--free-ports', 'any free ports instead of 7401 to 7404 and 7411 to 7414').default(false))
    .option('--verbose', 'also print what the services log', false)
    .addHelpText(
      'after',
      '\nExamples:\n  npm start\n  npm start -- --rate 1000\n  npm start -- --seconds 30 --json\n  npm start -- --postgres postgres://me@localhost/shop\n',
    )
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
  const given = command.parse(args, { from: 'user' }).opts<Omit<StorefrontOptions, 'ports'> & { freePorts: boolean }>();
  const { freePorts, ...options } = given;
  return { ...options, ports: freePorts ? 'free' : {} };
}

function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}`);
    }
    return value;
  };
}
