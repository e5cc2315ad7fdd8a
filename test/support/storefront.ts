/** The storefront's tables and definitions, for tests of the whole mesh. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MeshUnderTestOptions } from './mesh-under-test.ts';

const FOLDER = join(import.meta.dirname, '../../examples/storefront');

export async function storefront(): Promise<MeshUnderTestOptions> {
  return {
    schema: await readFile(join(FOLDER, 'schema.sql'), 'utf8'),
    definitions: await readFile(join(FOLDER, 'features.yaml'), 'utf8'),
  };
}
