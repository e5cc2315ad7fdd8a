/**
 * What must happen sometimes, over many seeds: every fault, and every path by which the mesh recovers from one. A
 * simulator in which a path is never taken proves nothing about it. Pure. Paths are known by what is logged on them.
 */
const KINDS = [
  ...[
    'commit',
    'change',
    'rollback',
    'define',
    'kill',
    'power',
    'stop',
    'slow',
    'cut',
    'reset',
    'lag',
    'scramble',
    'flip',
  ],
  ...[
    'flip-file',
    'lie',
    'lose-key',
    'old-row',
    'full',
    'clock',
    'checkpoint',
    'anew',
    'erase',
    'database-away',
    'database-silent',
    'rewind',
    'insert',
    'update',
    'delete',
    'move',
    'move with its key',
    'update with its key',
    'take out an extreme',
    'truncate',
    'insert into the catalog',
    'update the catalog',
    'delete from the catalog',
    'rename',
    'release',
  ],
];

/** Every fault and every other action. */
export const FAULTS: readonly RegExp[] = KINDS.map((kind) => new RegExp(`^did: ${kind}$`));

/** Every path of recovery. */
export const RECOVERIES: readonly RegExp[] = [
  /^ingest info: snapshot appended/,
  /^ingest info: trimmed/,
  /^ingest warn: cut a torn tail/,
  /^ingest warn: the disk is full/,
  /^ingest warn: partition \d+ keeps records that are/,
  /^ingest info: the log is within its limits again/,
  /^ingest (warn|info): appending failed/,
  /^ingest error: the log takes no more records: the clock leapt/,
  /^ingest exit: CLOCK_JUMP/,
  /^ingest info: capturing default failed/,
  /^compute info: took a checkpoint/,
  /^compute info: scrubbed a shard/,
  /^compute info: restored a shard/,
  /^compute info: the store of shard \d+ is damaged: a block/,
  /^compute info: the store of shard \d+ is damaged: the value of key/,
  /^compute error: shard \d+ cannot be written: the disk is full/,
  /^compute error: shard \d+ cannot build/,
  /^compute error: the log is damaged at partition/,
  /^compute (debug|info|warn): checking a cursor against the log failed/,
  /^ingest error: a part of the log is damaged/,
  /^ingest exit: DATA_DAMAGED/,
  /^ingest error: the log lost records that were acknowledged to the database/,
  /^ingest error: the log lost records that were durable/,
  /^ingest warn: starting over/,
  /^compute info: shard \d+ is at \d+, but the log ends at \d+: it lost records/,
  /^compute info: shard \d+ folded another record \d+ than the log has/,
  /^remedy: new log/,
  /^edge: a service went over to newer definitions/,
  /^edge: a service waits, served by older definitions/,
  /^edge warn: the replica lost rows of shard \d+: \d+ rows of/,
  /^edge warn: the replica lost rows of shard \d+: its rows are not those/,
  /^edge warn: the rows of shard \d+ were damaged on disk/,
  /^edge warn: the replica's store is damaged/,
  /^edge error: the replica cannot be written to disk/,
  /^edge warn: the wall clock jumped/,
  /^edge warn: \d+ view\(s\) wait for a new generation/,
  /^ingest warn: a route was asked to begin anew/,
  /^edge debug: a shard is no longer followed/,
  /^ingest info: releasing held rows/,
  /^ingest info: held rows were released, and the table flows/,
  /^ingest warn: held rows were superseded/,
  /^an erase was done: records became fillers/,
  // Too rare to be asked of a few seeds.
  /^did: drop-slot$/,
  /^a rewind lost commits/,
  /^a database that was put back is served as it is/,
  /^a joined table lacked a row/,
  /^edge: a view went over to a newer generation of its route/,
  /^compute: freed what says nothing any more/,
  /^edge: a row that says nothing any more is gone/,
];

/** Of what must happen, what never did. */
export function unseen(must: readonly RegExp[], seen: Iterable<string>): string[] {
  const names = [...seen];
  return must.filter((pattern) => !names.some((name) => pattern.test(name))).map(String);
}
