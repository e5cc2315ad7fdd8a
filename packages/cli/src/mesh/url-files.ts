/**
 * Files with the databases' URLs, for the processes of a mesh: arguments and environments are there for others on the
 * machine to see. Only we may read the files, and they are there only while the mesh runs.
 */
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { MeshConfig } from './mesh-config.ts';

/** The file that holds each database's URL; a URL in the configuration is put into one of ours. */
export async function writeUrlFiles(
  databases: MeshConfig['postgres'],
  directory: string,
): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const [name, url] of Object.entries(databases)) {
    files[name] = typeof url === 'string' ? ownFile(directory, name) : url.file;
    if (typeof url !== 'string') continue;
    const file = await open(files[name], 'w', 0o600);
    try {
      // The mode counts only for a file that is made: one that was there before gets it here, before the URL.
      await file.chmod(0o600);
      await file.writeFile(`${url}\n`);
    } finally {
      await file.close();
    }
  }
  return files;
}

/** Removes the files that writeUrlFiles made, not those that the configuration names. */
export async function removeUrlFiles(databases: MeshConfig['postgres'], directory: string): Promise<void> {
  for (const [name, url] of Object.entries(databases))
    if (typeof url === 'string') await rm(ownFile(directory, name), { force: true });
}

function ownFile(directory: string, name: string): string {
  return join(directory, `postgres-${name}.url`);
}
