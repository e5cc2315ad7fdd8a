/** Judges processes: those of a mesh belong to one that runs, none is stopped, none was left behind. Pure. */
import { type Finding, Findings } from './finding.ts';

export interface ProcessFacts {
  /** "ingest" */
  readonly what: string;
  readonly pidFile: string;
  /** Whether the pid file is there: a service that was stopped in order has none. */
  readonly noted: boolean;
  /** The process that the pid file names, if it runs. */
  readonly pid: number | undefined;
  /** Whether it is stopped (SIGSTOP, Ctrl-Z). */
  readonly stopped?: boolean | undefined;
}

export interface ProcessesFacts {
  /** Who runs the mesh on the data directory; undefined when nobody does. */
  readonly supervisor: number | undefined;
  /** The services of the mesh. */
  readonly processes: readonly ProcessFacts[];
  /** Files with a database's URL that a running mesh keeps; there must be none without one. */
  readonly urlFiles: readonly string[];
}

export function judgeProcesses({ supervisor, processes, urlFiles }: ProcessesFacts): Finding[] {
  const findings = new Findings('processes');
  if (supervisor === undefined) findings.note({ message: 'no mesh runs on this data directory' });
  else findings.ok(`a mesh runs on this data directory (pid ${supervisor})`);
  for (const { what, pid, pidFile, noted, stopped } of processes) {
    if (pid === undefined) {
      if (supervisor === undefined) {
        if (!noted) continue;
        findings.note({
          message: `${what} was killed with its mesh`,
          remedy: 'nothing is lost; freshet up goes on where it was',
          place: pidFile,
        });
      } else {
        findings.warning({
          message: `${what} does not run; it is waiting to be started again`,
          remedy: 'the output of freshet up says why it ended',
          place: pidFile,
        });
      }
      continue;
    }
    if (stopped === true) {
      findings.problem({ message: `${what} is stopped`, remedy: `kill -CONT ${pid}`, place: `pid ${pid}` });
    } else if (supervisor === undefined) {
      findings.problem({
        message: `${what} runs although its mesh is gone; nobody will start it again`,
        remedy: `freshet up ends it and starts a new one; or: kill ${pid}`,
        place: `pid ${pid}`,
      });
    } else findings.ok(`${what} runs`, `pid ${pid}`);
  }
  if (supervisor !== undefined) return findings.list;
  for (const file of urlFiles) {
    findings.warning({
      message: "a killed mesh left a database's URL behind, maybe with its password",
      remedy: `freshet up takes it over; or: rm ${file}`,
      place: file,
    });
  }
  return findings.list;
}
