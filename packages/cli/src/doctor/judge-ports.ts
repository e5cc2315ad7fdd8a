/** Judges ports: each free, or held by the process of ours that is meant to hold it. Pure. */
import { type Finding, Findings } from './finding.ts';

export interface PortFacts {
  /** "127.0.0.1:7401" */
  readonly address: string;
  /** Whose it is meant to be: "ingest". */
  readonly what: string;
  /** The running process of that service; undefined when none runs. */
  readonly ourPid: number | undefined;
  /** Why it cannot be listened on: an error code of the system. Unset: it is free. */
  readonly taken?: string | undefined;
  /** Who listens there, if that can be seen. */
  readonly holder?: { readonly pid: number; readonly command: string } | undefined;
}

export function judgePorts(ports: readonly PortFacts[]): Finding[] {
  const findings = new Findings('ports');
  for (const port of ports) judgePort(findings, port);
  return findings.list;
}

function judgePort(findings: Findings, { address: place, what, ourPid, taken, holder }: PortFacts): void {
  if (taken === undefined) {
    if (ourPid === undefined) findings.ok(`${what}: ${place} is free`);
    else {
      findings.warning({
        message: `${what} runs (pid ${ourPid}) but does not listen`,
        remedy: 'it is starting, or it listens elsewhere; see its log',
        place,
      });
    }
    return;
  }
  if (taken === 'EACCES') {
    findings.problem({
      message: `${what}: this user may not listen on ${place}`,
      remedy: 'choose a port above 1023 in the configuration (ports:)',
      place,
    });
  } else if (taken === 'EADDRNOTAVAIL') {
    findings.problem({
      message: `${what}: ${place} is not an address of this machine`,
      remedy: 'correct host: in the configuration; 0.0.0.0 listens on all addresses',
      place,
    });
  } else if (holder !== undefined && holder.pid === ourPid) findings.ok(`${what}: pid ${ourPid} listens`, place);
  else if (holder === undefined && ourPid !== undefined)
    findings.ok(`${what}: pid ${ourPid} runs, and it is taken`, place);
  else {
    const who = holder === undefined ? 'somebody' : `${holder.command} (pid ${holder.pid})`;
    findings.problem({
      message: `${what}: ${who} listens on ${place} already${taken === 'EADDRINUSE' ? '' : ` (${taken})`}`,
      remedy:
        holder === undefined
          ? `find who it is: ss -ltnp 'sport = :${place.slice(place.lastIndexOf(':') + 1)}'; or choose another port (ports:)`
          : `kill ${holder.pid}, if nobody needs it; or choose another port (ports:)`,
      place,
    });
  }
}
