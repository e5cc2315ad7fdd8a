/**
 * How a mesh tells that something is lost which it cannot make good by itself, as an operator reads it. After a disk that
 * lied or damaged a file, a run that does not converge by itself must have told one of these, and must converge once the
 * remedy was carried out. Pure.
 */
const TOLD: readonly RegExp[] = [
  // The log cannot be opened, or read where a shard needs it.
  /^ingest exit: DATA_DAMAGED/,
  /^ingest (error|warn): .*part of the log is damaged/,
  /^compute error: the log is damaged at partition/,
  // Ingest does not go on where it cannot know what is lost.
  /^ingest (error|warn): .*(SLOT_LOST|ever acknowledged|lost records that)/,
  /^ingest (error|warn): (the log is damaged at .*state.json|.*the state of a source cannot be read)/,
  /^ingest (error|warn): .*that this node did not make/,
  // Rows that were held are nowhere else: the slot is beyond them.
  /^ingest (error|warn): (the quarantine was damaged|a line of the quarantine was damaged)/,
  // A shard needs what no disk has any more.
  /^compute error: .*needs record \d+, the log starts at/,
];

/** Whether what was logged tells of a loss. */
export function isLossTold(what: string): boolean {
  return TOLD.some((pattern) => pattern.test(what));
}
