/**
 * Loaded before everything else (node --import) to run a broken build: changes one file's text as it is read. Nothing
 * on the disk changes, and production code has no switch for it.
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import { BROKEN_BUILDS } from './broken-builds.ts';

const name = process.env['FRESHET_BROKEN_BUILD'];
if (name !== undefined) {
  const broken = BROKEN_BUILDS.find((build) => build.name === name);
  if (broken === undefined) throw new Error(`there is no broken build ${name}`);
  registerHooks({
    load: (url, context, next) => {
      if (!url.startsWith('file:') || !fileURLToPath(url).endsWith(broken.file)) return next(url, context);
      let source = readFileSync(fileURLToPath(url), 'utf8');
      for (const { find, replace } of broken.changes) {
        if (source.split(find).length !== 2) throw new Error(`${name}: ${broken.file} does not have "${find}" once`);
        source = source.replace(find, () => replace);
      }
      return { format: 'module-typescript', source, shortCircuit: true };
    },
  });
}
