/**
 * npm test: runs every suite and ends with one line "N passed, N failed, N skipped".
 *
 * A suite that needs what this machine cannot give is reported as skipped, by name; with CI=true a skip is a
 * failure. Arguments are passed on to vitest (npm test -- packages/engine).
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numFailedTestSuites: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

const folder = mkdtempSync(join(tmpdir(), 'freshet-test-'));
const reportFile = join(folder, 'report.json');
const vitest = spawnSync(
  'vitest',
  ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`, ...process.argv.slice(2)],
  { stdio: 'inherit' },
);

let report: Report;
try {
  report = JSON.parse(readFileSync(reportFile, 'utf8')) as Report;
} catch {
  process.stdout.write('vitest ended without a report\n0 passed, 1 failed, 0 skipped\n');
  process.exit(1);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

const skipped = report.testResults.flatMap((file) =>
  file.assertionResults.filter((test) => test.status === 'skipped' || test.status === 'pending'),
);
for (const test of skipped) process.stdout.write(`skipped: ${test.fullName}\n`);
// A file that fails to load has no failed test, but it has failed all the same.
const brokenFiles = report.testResults.filter(
  (file) => file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed'),
);
const failed = report.numFailedTests + brokenFiles.length;
const strict = process.env['CI'] === 'true';
process.stdout.write(`${report.numPassedTests} passed, ${failed} failed, ${skipped.length} skipped\n`);
const ok = vitest.status === 0 && failed === 0 && report.numPassedTests > 0 && !(strict && skipped.length > 0);
process.exit(ok ? 0 : 1);
