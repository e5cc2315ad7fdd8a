/**
 * Loaded before everything else (node --import) by crc.ts: the checksum of whatever lies on a disk becomes a constant, as
 * it is read. Nothing on the disk changes, and production code has no switch for it.
 */
import { registerHooks } from 'node:module';

registerHooks({
  load: (url, context, next) =>
    url.startsWith('file:') && url.endsWith('/packages/store/src/crc32c.ts')
      ? { format: 'module', source: 'export function crc32c() { return 1; }', shortCircuit: true }
      : next(url, context),
});
