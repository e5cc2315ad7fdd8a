/** `freshet registry export|import`. Owns how they are called. */
import type { Command } from 'commander';
import { subcommand } from './command-parts.ts';
import { exportCommand, importCommand, type RegistryCopyOptions } from './commands/registry-copy.ts';
import type { Terminal } from './output/terminal.ts';

export function addRegistry(program: Command, terminal: Terminal): void {
  const group = subcommand(program, 'registry').summary('copy what the registry keeps out and in');
  subcommand(group, 'export')
    .summary('write all of it to a file, with checksums; the registry must not run')
    .argument('<file>', 'a new file')
    .requiredOption('--data-dir <dir>', "the registry's data directory; below `freshet up` it is <data_dir>/registry")
    .option('--schemas', 'what the Schema Registry API holds, not the definitions')
    .action((file: string, options: RegistryCopyOptions) => exportCommand(terminal, file, options));
  subcommand(group, 'import')
    .summary('put what was exported into an empty registry')
    .argument('<file>', 'what export wrote')
    .requiredOption('--data-dir <dir>', "the registry's data directory")
    .option('--schemas', 'what the Schema Registry API held, not the definitions')
    .option('--force', 'put what is there aside')
    .action((file: string, options: RegistryCopyOptions) => importCommand(terminal, file, options));
}
