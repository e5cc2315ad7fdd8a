/**
 * Whether a reader's Avro schema reads what was written with another: the rules of Avro's SchemaCompatibility, with
 * their Java names, and all findings rather than the first.
 *
 * Owns the rules. Judgements are kept by pair of types, so that a recursive schema ends and a type that comes a thousand
 * times is judged once. A pair that is met again while it is judged is taken to fit; if it then turns out not to, every
 * judgement that leant on it is forgotten (Java keeps those, and may call a recursive union compatible that is not).
 * Steps, findings and depth are bounded. Pure.
 */
import { type Incompatibility, InvalidSchema, type SchemaLimits } from '../schema.ts';
import {
  type AvroEnum,
  type AvroNamedType,
  type AvroPrimitiveKind,
  type AvroRecord,
  type AvroType,
  isAvroNamed,
} from './avro-schema.ts';

/** What a reader's primitive reads beside itself. */
const PROMOTIONS: Readonly<Partial<Record<AvroPrimitiveKind, readonly AvroType['kind'][]>>> = {
  long: ['int'],
  float: ['int', 'long'],
  double: ['int', 'long', 'float'],
  string: ['bytes'],
  bytes: ['string'],
};
/** Of one pair; a caller that shows more than this helps nobody, and a schema may double them at each level. */
const FINDINGS_MAX = 1000;
/** Types within types, through names too: what the call stack bears with ease. */
const DEPTH_MAX = 1000;

export function findAvroIncompatibilities(
  reader: AvroType,
  writer: AvroType,
  limits: SchemaLimits,
): readonly Incompatibility[] {
  return new AvroComparison(limits.stepsMax)
    .compare(reader, writer, 0)
    .map((finding) => ({ ...finding, path: finding.path === '' ? '/' : finding.path }));
}

type Findings = readonly Incompatibility[];
const NOTHING: Findings = [];

interface Pair {
  readonly reader: AvroType;
  readonly writer: AvroType;
  /** Undefined while it is judged. Paths are from this pair on. */
  findings: Findings | undefined;
  /** Whether another judgement took it to fit while it was judged. */
  assumed: boolean;
}

class AvroComparison {
  readonly #stepsMax: number;
  readonly #pairs = new Map<AvroType, Map<AvroType, Pair>>();
  /** What was found to fit, in order, so that the last ones can be forgotten. */
  readonly #fitting: Pair[] = [];
  #steps = 0;

  constructor(stepsMax: number) {
    this.#stepsMax = stepsMax;
  }

  compare(reader: AvroType, writer: AvroType, depth: number): Findings {
    this.#step(1);
    if (depth > DEPTH_MAX)
      throw new InvalidSchema(`The schemas hold types within types deeper than ${DEPTH_MAX}.`, { tooLarge: true });
    // Only what is named can come again, and only through it is there a cycle.
    if (!isAvroNamed(reader) || !isAvroNamed(writer)) return this.#judge(reader, writer, depth);
    const known = this.#pairs.get(reader)?.get(writer);
    if (known?.findings !== undefined) return known.findings;
    if (known !== undefined) {
      known.assumed = true;
      return NOTHING;
    }
    const pair: Pair = { reader, writer, findings: undefined, assumed: false };
    const writers = this.#pairs.get(reader) ?? new Map<AvroType, Pair>();
    this.#pairs.set(reader, writers.set(writer, pair));
    const before = this.#fitting.length;
    const findings = this.#judge(reader, writer, depth);
    pair.findings = findings;
    if (findings.length === 0) this.#fitting.push(pair);
    else if (pair.assumed)
      for (const each of this.#fitting.splice(before)) this.#pairs.get(each.reader)?.delete(each.writer);
    return findings;
  }

  #judge(reader: AvroType, writer: AvroType, depth: number): Findings {
    if (writer.kind === 'union') return this.#judgeWriterUnion(reader, writer.branches, depth);
    if (reader.kind === 'union') return this.#judgeReaderUnion(reader.branches, writer, depth);
    if (reader.kind === 'array' && writer.kind === 'array')
      return this.#under('/items', this.compare(reader.items, writer.items, depth + 1));
    if (reader.kind === 'map' && writer.kind === 'map')
      return this.#under('/values', this.compare(reader.values, writer.values, depth + 1));
    if (isAvroNamed(reader) && reader.kind === writer.kind) return this.#judgeNamed(reader, writer, depth);
    if (reader.kind === writer.kind) return NOTHING;
    if (!isAvroNamed(reader) && reader.kind !== 'array' && reader.kind !== 'map')
      if (PROMOTIONS[reader.kind]?.includes(writer.kind) === true) return NOTHING;
    return [
      finding(
        'TYPE_MISMATCH',
        '',
        `The reader's type ${describe(reader)} does not read the writer's type ${describe(writer)}.`,
      ),
    ];
  }

  /** Any branch may have been written, so the reader must read each. */
  #judgeWriterUnion(reader: AvroType, branches: readonly AvroType[], depth: number): Findings {
    const findings: Incompatibility[] = [];
    for (const [index, branch] of branches.entries()) {
      const path = reader.kind === 'union' ? `/${index}` : '';
      const found =
        reader.kind === 'union'
          ? this.#judgeReaderUnion(reader.branches, branch, depth)
          : this.compare(reader, branch, depth + 1);
      this.#add(findings, path, found);
    }
    return findings;
  }

  #judgeReaderUnion(branches: readonly AvroType[], writer: AvroType, depth: number): Findings {
    this.#step(branches.length);
    // The branch of the writer's own kind and name first: it is the likely one, and no other may need a look.
    const likely = branches.find((branch) => branch.kind === writer.kind && sameFullName(branch, writer));
    if (likely !== undefined && this.compare(likely, writer, depth + 1).length === 0) return NOTHING;
    for (const branch of branches)
      if (branch !== likely && this.compare(branch, writer, depth + 1).length === 0) return NOTHING;
    return [finding('MISSING_UNION_BRANCH', '', `The reader's union has no branch that reads ${describe(writer)}.`)];
  }

  #judgeNamed(reader: AvroNamedType, writer: AvroType, depth: number): Findings {
    if (!isAvroNamed(writer)) return NOTHING;
    const findings: Incompatibility[] = [];
    this.#step(reader.aliases.length);
    if (reader.name !== writer.name && !reader.aliases.includes(writer.fullName))
      findings.push(
        finding(
          'NAME_MISMATCH',
          '/name',
          `The reader's ${describe(reader)} is neither named nor aliased as the writer's ${describe(writer)}.`,
        ),
      );
    if (reader.kind === 'fixed' && writer.kind === 'fixed' && reader.size !== writer.size)
      findings.push(
        finding(
          'FIXED_SIZE_MISMATCH',
          '/size',
          `The reader expects ${reader.size} bytes where the writer has ${writer.size}.`,
        ),
      );
    if (reader.kind === 'enum' && writer.kind === 'enum')
      this.#add(findings, '/symbols', this.#judgeEnum(reader, writer));
    if (reader.kind === 'record' && writer.kind === 'record')
      this.#add(findings, '/fields', this.#judgeRecord(reader, writer, depth));
    return findings;
  }

  #judgeEnum(reader: AvroEnum, writer: AvroEnum): Findings {
    if (reader.default !== undefined) return NOTHING;
    this.#step(writer.symbols.length + reader.symbols.length);
    const known = new Set(reader.symbols);
    const missing = writer.symbols.filter((symbol) => !known.has(symbol));
    if (missing.length === 0) return NOTHING;
    const listed = missing.length > 20 ? `${missing.slice(0, 20).join(', ')} and more` : missing.join(', ');
    return [
      finding(
        'MISSING_ENUM_SYMBOLS',
        '',
        `The reader's ${describe(reader)} lacks the symbols ${listed}, and has no default.`,
      ),
    ];
  }

  #judgeRecord(reader: AvroRecord, writer: AvroRecord, depth: number): Findings {
    const findings: Incompatibility[] = [];
    for (const [index, field] of reader.fields.entries()) {
      this.#step(1 + field.aliases.length);
      const alias = field.aliases.find((each) => writer.fieldsByName.has(each));
      const source = writer.fieldsByName.get(field.name) ?? (alias && writer.fieldsByName.get(alias));
      if (source !== undefined && source !== '')
        this.#add(findings, `/${index}/type`, this.compare(field.type, source.type, depth + 1));
      else if (field.default === undefined)
        findings.push(
          finding(
            'READER_FIELD_MISSING_DEFAULT_VALUE',
            `/${index}`,
            `The reader's field "${field.name}" of ${reader.fullName} has no default, and the writer has no such field.`,
          ),
        );
      if (findings.length >= FINDINGS_MAX) break;
    }
    return findings;
  }

  #under(path: string, found: Findings): Findings {
    if (found.length === 0) return NOTHING;
    const findings: Incompatibility[] = [];
    this.#add(findings, path, found);
    return findings;
  }

  #add(findings: Incompatibility[], path: string, found: Findings): void {
    this.#step(found.length);
    for (const each of found) {
      if (findings.length >= FINDINGS_MAX) return;
      findings.push({ ...each, path: path + each.path });
    }
  }

  #step(count: number): void {
    this.#steps += count;
    if (this.#steps > this.#stepsMax)
      throw new InvalidSchema(`The pair of schemas takes more than ${this.#stepsMax} steps to judge.`, {
        tooLarge: true,
      });
  }
}

function sameFullName(a: AvroType, b: AvroType): boolean {
  return !isAvroNamed(a) || !isAvroNamed(b) || a.fullName === b.fullName;
}

function describe(type: AvroType): string {
  return isAvroNamed(type) ? `${type.kind} ${type.fullName}` : type.kind;
}

function finding(type: string, path: string, message: string): Incompatibility {
  return { type, path, message };
}
