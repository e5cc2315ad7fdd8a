/**
 * What may happen to the oneofs of a message.
 *
 * Owns Confluent's rules, of which there are two. Until June 2026 oneofs were matched by name, so that renaming one hid
 * what happened in it, and a field that moved out counted as removed. Since then a oneof's counterpart is also found by
 * the fields that they share, and a field may move out. Pure; linear in fields.
 */
import type { Incompatibility } from '../schema.ts';
import type { ProtoField, ProtoMessage } from './proto-file.ts';

export type OneofRule = 'before' | 'latest';

export function findOneofIncompatibilities(
  now: ProtoMessage,
  old: ProtoMessage,
  { path, rule }: { readonly path: string; readonly rule: OneofRule },
): readonly Incompatibility[] {
  if (now.oneofs.length === 0 && old.oneofs.length === 0) return [];
  const nowByNumber = new Map(now.fields.map((field) => [field.number, field]));
  const oldByNumber = new Map(old.fields.map((field) => [field.number, field]));
  return [...findRemoved({ now, nowByNumber, old, path, rule }), ...findMoved({ now, old, oldByNumber, path, rule })];
}

function findRemoved({
  now,
  nowByNumber,
  old,
  path,
  rule,
}: {
  readonly now: ProtoMessage;
  readonly nowByNumber: ReadonlyMap<number, ProtoField>;
  readonly old: ProtoMessage;
  readonly path: string;
  readonly rule: OneofRule;
}): Incompatibility[] {
  const findings: Incompatibility[] = [];
  const names = new Set(now.oneofs.map(({ name }) => name));
  for (const [oneof, fields] of fieldsByOneof(old)) {
    const lives =
      names.has(oneof) ||
      (rule === 'latest' && fields.some(({ number }) => nowByNumber.get(number)?.oneof !== undefined));
    // A oneof that goes as a whole may go.
    if (!lives) continue;
    for (const field of fields) {
      const other = nowByNumber.get(field.number);
      if (rule === 'latest' ? other === undefined : other?.oneof !== oneof)
        findings.push({
          type: 'ONEOF_FIELD_REMOVED',
          path: `${path}/${oneof}/${field.number}`,
          message: `The field "${field.name}" is no longer in the oneof "${oneof}".`,
        });
    }
  }
  return findings;
}

function findMoved({
  now,
  old,
  oldByNumber,
  path,
  rule,
}: {
  readonly now: ProtoMessage;
  readonly old: ProtoMessage;
  readonly oldByNumber: ReadonlyMap<number, ProtoField>;
  readonly path: string;
  readonly rule: OneofRule;
}): Incompatibility[] {
  const findings: Incompatibility[] = [];
  const names = new Set(old.oneofs.map(({ name }) => name));
  for (const [oneof, fields] of fieldsByOneof(now)) {
    const before = fields.flatMap((field) => oldByNumber.get(field.number) ?? []);
    const counterpart = names.has(oneof) ? oneof : rule === 'latest' ? mostOf(before) : undefined;
    const moved = before.filter((field) => counterpart === undefined || field.oneof !== counterpart);
    if (counterpart !== undefined)
      for (const field of moved)
        findings.push({
          type: 'FIELD_MOVED_TO_EXISTING_ONEOF',
          path: `${path}/${oneof}/${field.number}`,
          message: `The field "${field.name}" moved into the oneof "${oneof}", which was there before.`,
        });
    else if (moved.length > 1)
      findings.push({
        type: 'MULTIPLE_FIELDS_MOVED_TO_ONEOF',
        path: `${path}/${oneof}`,
        message: `${moved.length} fields moved into the new oneof "${oneof}"; of what was written with both, one is lost.`,
      });
  }
  return findings;
}

/** The oneof in which most of these fields are; undefined when none is in one. */
function mostOf(fields: readonly ProtoField[]): string | undefined {
  const counts = new Map<string, number>();
  for (const { oneof } of fields) if (oneof !== undefined) counts.set(oneof, (counts.get(oneof) ?? 0) + 1);
  return [...counts].reduce<readonly [string, number] | undefined>(
    (most, each) => (most === undefined || each[1] > most[1] ? each : most),
    undefined,
  )?.[0];
}

function fieldsByOneof(message: ProtoMessage): Map<string, ProtoField[]> {
  const byOneof = new Map<string, ProtoField[]>();
  for (const field of message.fields) {
    if (field.oneof === undefined) continue;
    const fields = byOneof.get(field.oneof);
    if (fields === undefined) byOneof.set(field.oneof, [field]);
    else fields.push(field);
  }
  return byOneof;
}
