/** Judges the configuration: readable, complete, its definitions well-formed, its secrets for us alone. Pure. */
import type { FreshetError } from '@freshet/kit/errors.ts';
import { type Finding, Findings } from './finding.ts';

export interface ConfigurationFacts {
  readonly path: string;
  /** What keeps the file from being used; unset: it can be. */
  readonly error?: FreshetError | undefined;
  /** What is wrong with the files of definitions; unset: nothing, or there are none. */
  readonly definitionsError?: FreshetError | undefined;
  readonly definitionFiles: number;
  /** Files that hold a database's URL. */
  readonly urlFiles: readonly UrlFileFacts[];
}

export interface UrlFileFacts {
  readonly database: string;
  readonly path: string;
  /** The permission bits; unset: it cannot be read. */
  readonly mode?: number | undefined;
  /** Why it cannot be read: an error code of the system. */
  readonly unreadable?: string | undefined;
}

export function judgeConfiguration(facts: ConfigurationFacts): Finding[] {
  const findings = new Findings('configuration');
  const { path, error, definitionsError, definitionFiles, urlFiles } = facts;
  if (error !== undefined) {
    problems(findings, error);
    return findings.list;
  }
  findings.ok(`${path} can be used`);
  if (definitionsError !== undefined) problems(findings, definitionsError);
  else if (definitionFiles > 0) findings.ok('the definitions are well-formed');
  else {
    findings.note({
      message: 'the configuration names no definitions',
      remedy: 'put them in force by freshet apply, or name them: definitions: [features/]',
      place: path,
    });
  }
  for (const file of urlFiles) judgeUrlFile(findings, file);
  return findings.list;
}

function judgeUrlFile(findings: Findings, { database, path: place, mode, unreadable }: UrlFileFacts): void {
  if (mode === undefined) {
    findings.problem({
      message: `the file with the URL of database ${database} cannot be read (${unreadable ?? 'unknown'})`,
      remedy: `make it, with one line such as postgres://user:password@host:5432/database, and: chmod 600 ${place}`,
      place,
    });
  } else if ((mode & 0o077) !== 0) {
    findings.warning({
      message: `others on this machine may read the URL of database ${database}`,
      remedy: `chmod 600 ${place}`,
      place,
    });
  }
}

function problems(findings: Findings, error: FreshetError): void {
  for (const { message, remedy, place } of [error, ...error.also]) findings.problem({ message, remedy, place });
}
