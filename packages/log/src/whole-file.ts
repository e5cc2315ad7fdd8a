/**
 * Small files that are read and written whole: who a log is, where it begins, the state of a node.
 *
 * Owns the way of replacing one: written beside, synced, renamed, the directory synced. So after any crash the file is
 * wholly the old one or wholly the new one, and once replaceFile() has resolved it is the new one.
 *
 * A sealed file is a JSON object whose first member is the checksum of the rest, still readable in an editor: a flipped
 * bit in "start": 100 would otherwise be a start as good as any.
 */
import { dirname } from 'node:path';
import { crc32c } from '@freshet/store/crc32c.ts';
import { type FileSystem, isErrno } from './file-system.ts';
import { damaged } from './follow.ts';

/** What a draft's name ends with; a crash may leave one, which the next replaceFile() overwrites. */
export const DRAFT_SUFFIX = '.new';

/** The content of a file; undefined when it is not there. */
export async function readIfThere(files: FileSystem, path: string): Promise<Uint8Array | undefined> {
  let file: Awaited<ReturnType<FileSystem['open']>>;
  try {
    file = await files.open(path, 'read');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    const bytes = new Uint8Array(await file.length());
    return bytes.subarray(0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}

/**
 * As readIfThere, for whoever acts on what it says: a process that was killed between a rename and the sync of its directory left
 * a file that a power cut takes back. From here on it stays.
 */
export async function readToActOn(files: FileSystem, path: string): Promise<Uint8Array | undefined> {
  const bytes = await readIfThere(files, path);
  if (bytes !== undefined) await files.syncDirectory(dirname(path));
  return bytes;
}

/** Makes or replaces a file, durably. */
export async function replaceFile(files: FileSystem, path: string, content: Uint8Array): Promise<void> {
  const draft = path + DRAFT_SUFFIX;
  const file = await files.open(draft, 'overwrite');
  try {
    await file.write([content], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(draft, path);
  await files.syncDirectory(dirname(path));
}

/** An object as the text of a sealed file. */
export function sealJson(value: Readonly<Record<string, unknown>>): Uint8Array {
  const text = JSON.stringify(value);
  return Buffer.from(`{"crc32c":"${checksum(text)}",${text.slice(1)}\n`);
}

/** The object in a sealed file, without its checksum. Throws DATA_DAMAGED with the remedy. */
export function openSealedJson(bytes: Uint8Array, path: string, remedy?: string): Record<string, unknown> {
  const text = Buffer.from(bytes).toString('utf8').trimEnd();
  const sealed = /^\{"crc32c":"([0-9a-f]{8})",([\s\S]*)$/.exec(text);
  const inner = `{${sealed?.[2] ?? ''}`;
  if (sealed === null) throw damaged(path, 'it is not a sealed JSON object', remedy);
  if (checksum(inner) !== sealed[1]) throw damaged(path, 'its checksum does not hold', remedy);
  try {
    return JSON.parse(inner) as Record<string, unknown>;
  } catch (cause) {
    throw damaged(path, `it is not JSON: ${String(cause)}`, remedy);
  }
}

function checksum(text: string): string {
  const bytes = Buffer.from(text);
  return crc32c(bytes, 0, bytes.length).toString(16).padStart(8, '0');
}
