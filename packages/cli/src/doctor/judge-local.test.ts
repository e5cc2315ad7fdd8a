/**
 * Goal: each thing that can be wrong with a machine is found, is as bad as it is, and has a remedy; what is well is not
 * found wrong. Method: facts as the gatherers give them, one of them changed at a time.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import type { Finding } from './finding.ts';
import { judgeClocks } from './judge-clocks.ts';
import { judgeConfiguration } from './judge-configuration.ts';
import { type DirectoryFacts, judgeDisks } from './judge-disks.ts';
import { judgeMachine, type MachineFacts } from './judge-machine.ts';
import { judgePorts, type PortFacts } from './judge-ports.ts';
import { judgeProcesses } from './judge-processes.ts';

const GIB = 1024 ** 3;
const bad = (findings: readonly Finding[]): string[] =>
  findings
    .filter(({ level }) => level !== 'ok')
    .map(({ level, message, remedy }) => `${level}: ${message} → ${remedy}`);

describe('disks', () => {
  const well: DirectoryFacts = {
    path: '/data/ingest',
    what: 'ingest',
    owned: { uid: 7, mode: 0o40700 },
    room: { freeBytes: 50 * GIB, totalBytes: 100 * GIB, freeInodes: 1e6, totalInodes: 2e6 },
    aside: [],
  };
  const judged = (change: Partial<DirectoryFacts>, uid: number | undefined = 7): string[] =>
    bad(judgeDisks([{ ...well, ...change }], { uid, user: 'freshet', nowUs: 7_200_000_000 }));

  it('finds nothing wrong with a directory that is ours, or not made yet', () => {
    expect(judged({})).toEqual([]);
    expect(judged({ owned: undefined })).toEqual([]);
    expect(judged({}, undefined)).toEqual([]);
    // File systems that make inodes as they go count none.
    expect(judged({ room: { ...well.room, freeInodes: 0, totalInodes: 0 } })).toEqual([]);
  });

  it('finds a disk that is full, nearly full, out of inodes, read-only, or not ours', () => {
    const room = (change: object) => judged({ room: { ...well.room, ...change } });
    expect(room({ freeBytes: 60 * 1024 ** 2 })).toEqual([
      expect.stringMatching(/^problem: ingest: 60\.0 MiB of 100 GiB are free; capture stops below 64\.0 MiB/),
    ]);
    expect(room({ freeBytes: 4 * GIB })).toEqual([expect.stringMatching(/^warning: ingest: 4\.0 GiB of 100 GiB/)]);
    expect(room({ freeInodes: 10 })).toEqual([expect.stringMatching(/^problem: .*10 of 2000000 inodes/)]);
    expect(judged({ notWritable: 'EROFS' })).toEqual([expect.stringMatching(/^problem: .*read-only.*remount/)]);
    expect(judged({ notWritable: 'EACCES' })).toEqual([expect.stringMatching(/^problem: .*chown -R freshet/)]);
    expect(judged({}, 8)).toEqual([expect.stringMatching(/^warning: .*belongs to user 7/)]);
    expect(judged({}, 0)).toEqual([]);
    expect(judged({ owned: { uid: 7, mode: 0o40777 } })).toEqual([
      expect.stringMatching(/^problem: .*everybody.*chmod/),
    ]);
  });

  it('notes data that was put aside, since when and how large', () => {
    const aside = [{ path: '/data/compute/3.aside', bytes: 5 * 1024 ** 2, atUs: 0 }];
    expect(judged({ aside })).toEqual([
      expect.stringMatching(/^note: ingest: 5\.0 MiB were put aside 2\.0 h ago.*rm -r \/data\/compute\/3\.aside/),
    ]);
  });
});

describe('the machine', () => {
  const well: MachineFacts = {
    nodeVersion: 'v24.21.0',
    openFiles: { soft: 65_536, hard: 65_536 },
    memoryBytes: 8 * GIB,
    partitions: 8,
    processes: [{ what: 'compute', pid: 5, openFiles: { used: 100, soft: 65_536 } }],
  };
  const judged = (change: Partial<MachineFacts>): string[] => bad(judgeMachine({ ...well, ...change }));

  it('finds an old Node, too few files, a process that has most of them open, and little memory', () => {
    expect(judged({})).toEqual([]);
    expect(judged({ openFiles: undefined })).toEqual([]);
    expect(judged({ openFiles: { soft: Infinity, hard: Infinity } })).toEqual([]);
    expect(judged({ nodeVersion: 'v22.3.0' })).toEqual([expect.stringMatching(/^problem: Node v22/)]);
    expect(judged({ openFiles: { soft: 1_024, hard: 4_096 } })).toEqual([
      expect.stringMatching(/^warning: .*ulimit -n 4096/),
    ]);
    expect(judged({ openFiles: { soft: 1_024, hard: 1_024 } })).toEqual([expect.stringMatching(/hard limit of 1024/)]);
    expect(judged({ processes: [{ what: 'serve', pid: 9, openFiles: { used: 900, soft: 1_024 } }] })).toEqual([
      expect.stringMatching(/^warning: serve has 900 of 1024 files open.*\/proc\/9\/fd/),
    ]);
    expect(judged({ memoryBytes: GIB })).toEqual([expect.stringMatching(/^warning: 1\.0 GiB of memory/)]);
  });
});

describe('ports', () => {
  const free: PortFacts = { address: '127.0.0.1:7401', what: 'ingest', ourPid: undefined };
  const judged = (change: Partial<PortFacts>): string[] => bad(judgePorts([{ ...free, ...change }]));

  it('are well when free, or held by the process of ours that is meant to', () => {
    expect(judged({})).toEqual([]);
    expect(judged({ ourPid: 5, taken: 'EADDRINUSE', holder: { pid: 5, command: 'node' } })).toEqual([]);
    expect(judged({ ourPid: 5, taken: 'EADDRINUSE' })).toEqual([]);
  });

  it('are not when somebody else holds them, nobody may, or ours does not listen', () => {
    expect(judged({ taken: 'EADDRINUSE', holder: { pid: 9, command: 'nginx' } })).toEqual([
      expect.stringMatching(/^problem: ingest: nginx \(pid 9\) listens.*kill 9/),
    ]);
    expect(judged({ ourPid: 5, taken: 'EADDRINUSE', holder: { pid: 9, command: 'nginx' } })).toHaveLength(1);
    expect(judged({ taken: 'EADDRINUSE' })).toEqual([expect.stringMatching(/ss -ltnp 'sport = :7401'/)]);
    expect(judged({ taken: 'EACCES' })).toEqual([expect.stringMatching(/^problem: .*above 1023/)]);
    expect(judged({ taken: 'EADDRNOTAVAIL' })).toEqual([expect.stringMatching(/^problem: .*host:/)]);
    expect(judged({ ourPid: 5 })).toEqual([
      expect.stringMatching(/^warning: ingest runs \(pid 5\) but does not listen/),
    ]);
  });
});

describe('processes', () => {
  const one = { what: 'ingest', pidFile: '/run/ingest.pid', noted: true, pid: 5 };

  it('of a running mesh run, and are not stopped', () => {
    const judged = (change: object): string[] =>
      bad(judgeProcesses({ supervisor: 1, processes: [{ ...one, ...change }], urlFiles: ['/run/x.url'] }));
    expect(judged({})).toEqual([]);
    expect(judged({ stopped: true })).toEqual([expect.stringMatching(/^problem: ingest is stopped → kill -CONT 5/)]);
    expect(judged({ pid: undefined })).toEqual([expect.stringMatching(/^warning: ingest does not run/)]);
    expect(judged({ pid: undefined, noted: false })).toEqual([expect.stringMatching(/^warning: ingest does not run/)]);
  });

  it('left behind by a killed mesh are found, and so are the URLs it kept', () => {
    const judged = (change: object, urlFiles: string[] = []): string[] =>
      bad(judgeProcesses({ supervisor: undefined, processes: [{ ...one, ...change }], urlFiles })).slice(1);
    expect(judged({})).toEqual([expect.stringMatching(/^problem: ingest runs although its mesh is gone.*kill 5/)]);
    expect(judged({ pid: undefined })).toEqual([expect.stringMatching(/^note: ingest was killed/)]);
    expect(judged({ pid: undefined, noted: false })).toEqual([]);
    expect(judged({ pid: undefined, noted: false }, ['/run/a.url'])).toEqual([
      expect.stringMatching(/^warning: .*rm \/run\/a\.url/),
    ]);
  });
});

describe('clocks', () => {
  const judged = (aheadUs: number, uncertainUs = 0, steppedUs = 0): string[] =>
    bad(
      judgeClocks({
        steppedUs,
        watchedUs: 1_000_000,
        others: [{ whose: 'database a', against: 'ingest', aheadUs, uncertainUs }],
      }),
    );

  it('are compared as exactly as they can be, and a step of ours is told', () => {
    expect(judged(400_000)).toEqual([]);
    expect(judged(-600_000)).toEqual([
      expect.stringMatching(/^warning: the clock of database a is 600\.0 ms behind that of ingest/),
    ]);
    expect(judged(6_000_000)).toEqual([expect.stringMatching(/^problem: .*6\.0 s ahead of/)]);
    // A round trip of 20 s says nothing of 6 s.
    expect(judged(6_000_000, 10_000_000)).toEqual([]);
    expect(judged(0, 0, -2_000_000)).toEqual([
      expect.stringMatching(/^warning: this machine's clock was set by -2\.0 s/),
    ]);
  });

  it('of two nodes are compared as well where ours lies between them', () => {
    const apart = (serve: number, compute: number, uncertainUs = 0): string[] =>
      bad(
        judgeClocks({
          steppedUs: 0,
          watchedUs: 1_000_000,
          others: [
            { whose: 'serve b', against: 'this machine', aheadUs: serve, uncertainUs },
            { whose: 'database a', against: 'ingest', aheadUs: 0, uncertainUs: 0 },
            { whose: 'compute c', against: 'this machine', aheadUs: compute, uncertainUs },
          ],
        }),
      );
    expect(apart(3_000_000, -1_900_000)).toEqual([
      expect.stringMatching(/^warning: the clock of serve b is 3\.0 s ahead of that of this machine/),
      expect.stringMatching(/^warning: the clock of compute c is 1\.9 s behind that of this machine/),
    ]);
    expect(apart(3_000_000, -3_000_000)).toContainEqual(
      expect.stringMatching(/^problem: the clock of serve b is 6\.0 s ahead of that of compute c/),
    );
    expect(apart(3_000_000, -3_000_000, 600_000)).not.toContainEqual(expect.stringMatching(/^problem/));
    // One that is too far from ours is told once.
    expect(apart(6_000_000, 0)).toEqual([expect.stringMatching(/^problem: .*serve b is 6\.0 s ahead/)]);
  });
});

describe('the configuration', () => {
  const well = { path: 'm.yaml', definitionFiles: 1, urlFiles: [] };

  it('tells everything that is wrong with the files', () => {
    const error = new FreshetError('INVALID_CONFIG', 'a', {
      place: 'm.yaml:1:1',
      also: [new FreshetError('INVALID_CONFIG', 'b')],
    });
    expect(bad(judgeConfiguration(well))).toEqual([]);
    expect(judgeConfiguration({ ...well, error })).toMatchObject([
      { message: 'a', place: 'm.yaml:1:1' },
      { message: 'b' },
    ]);
    expect(
      judgeConfiguration({ ...well, definitionsError: error }).filter(({ level }) => level === 'problem'),
    ).toHaveLength(2);
    expect(bad(judgeConfiguration({ ...well, definitionFiles: 0 }))).toEqual([
      expect.stringMatching(/^note: .*no definitions/),
    ]);
  });

  it('wants files with URLs to be for us alone', () => {
    const file = (change: object): string[] =>
      bad(judgeConfiguration({ ...well, urlFiles: [{ database: 'a', path: '/u', ...change }] }));
    expect(file({ mode: 0o600 })).toEqual([]);
    expect(file({ mode: 0o644 })).toEqual([expect.stringMatching(/^warning: .*chmod 600 \/u/)]);
    expect(file({ unreadable: 'ENOENT' })).toEqual([expect.stringMatching(/^problem: .*ENOENT/)]);
  });
});
