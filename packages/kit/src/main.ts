/**
 * What every service's main.ts does: --help, options, the log's level, one lifecycle. Owns nothing of its own; options
 * are config.ts, the lifecycle is lifecycle.ts. The only reader of the process's arguments and environment.
 *
 *     if (import.meta.main) await runMain({ name: 'serve', about: 'answers feature reads', options: OPTIONS, start: startServe });
 */
import { type ConfigOf, helpText, type OptionTable, readConfig } from './config.ts';
import { runService, type ServiceContext } from './lifecycle.ts';
import { createLogger, type LogLevel } from './logger.ts';

export interface MainOptions<T extends OptionTable> {
  /** The service, as its log lines name it. */
  readonly name: string;
  /** What it does, for --help. */
  readonly about: string;
  /** The table of its options; `logLevel`, where there is one, is the least level that is written. */
  readonly options: T;
  /** Brings the service up; resolves when it answers, or rejects. */
  readonly start: (config: ConfigOf<T>, context: ServiceContext) => Promise<unknown>;
}

/** Runs a service as this process: prints its help, or runs it until it is asked to stop. Exits the process then. */
export async function runMain<T extends OptionTable>({ name, about, options, start }: MainOptions<T>): Promise<void> {
  const args = process.argv.slice(2);
  if (args.includes('--help')) {
    process.stdout.write(helpText(name, about, options));
    return;
  }
  await runService(
    async (context) => {
      const config = readConfig(options, args, process.env);
      const { logLevel: level } = config as { readonly logLevel?: LogLevel };
      await start(config, { ...context, log: createLogger({ name, level }) });
    },
    // What is wrong with the options is told before they can say at which level.
    { log: createLogger({ name }) },
  );
}
