/**
 * node scripts/run.mjs scripts/avro-java.ts [PAIRS]: what our Avro engine finds of random pairs, against Avro's own library
 * for Java, by which Confluent's registry judges Avro. Needs Java 17 and Maven, so it is no part of the tests.
 *
 * Owns the one difference that is known (docs/schema-compatibility.md): of a missing field whose type is an enum with a
 * default, Java compares the enum with the writer's record, and so tells TYPE_MISMATCH at the type. Fails at any other.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { avroEngine } from '@freshet/schemas/avro/avro-engine.ts';
import { avroPairs } from '@freshet/schemas/avro/random-pairs.testing.ts';
import fc from 'fast-check';

const AVRO = '1.12.0';
const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>x</groupId>
<artifactId>x</artifactId><version>1</version><dependencies><dependency><groupId>org.apache.avro</groupId>
<artifactId>avro</artifactId><version>${AVRO}</version></dependency></dependencies></project>`;

const count = Number(process.argv[2] ?? 20_000);
const seed = Number(process.env['FRESHET_FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

function byUs(reader: string, writer: string): string {
  const [now, old] = [reader, writer].map((text) => avroEngine.parse(text, [], { checkDefaults: true }));
  if (now === undefined || old === undefined) throw new Error('no pair');
  return avroEngine
    .findIncompatibilities(now, old)
    .map(({ type, path }) => `${type} ${path};`)
    .join('');
}

function byJava(pairs: readonly string[]): string[] {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-avro-java-'));
  try {
    const pom = join(directory, 'pom.xml');
    writeFileSync(pom, POM);
    const classPath = join(directory, 'class-path');
    const goals = ['-q', '-B', '-f', pom, 'dependency:build-classpath', `-Dmdep.outputFile=${classPath}`];
    execFileSync('mvn', goals, { stdio: 'inherit' });
    const program = join(import.meta.dirname, 'AvroVerdicts.java');
    const output = execFileSync('java', ['-cp', readFileSync(classPath, 'utf8'), program], {
      input: `${pairs.join('\n')}\n`,
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'ignore'],
      maxBuffer: 1_000_000_000,
    });
    return output.split('\n').slice(0, -1);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What Java tells, with the known difference undone. */
function aligned(ours: string, java: string): string {
  const told = ours.split(';');
  return java
    .split(';')
    .map((each, at) => {
      const [type, place] = (told[at] ?? '').split(' ');
      const isKnown = type === 'READER_FIELD_MISSING_DEFAULT_VALUE' && each === `TYPE_MISMATCH ${place}/type`;
      return isKnown ? (told[at] ?? '') : each;
    })
    .join(';');
}

const texts = fc.sample(avroPairs, { seed, numRuns: count }).map((pair) => {
  return [JSON.stringify(pair.new), JSON.stringify(pair.old)] as const;
});
const java = byJava(texts.map((pair) => pair.join('\t')));
const seen = { pairs: texts.length, compatible: 0, knownDifferences: 0, differences: 0 };
for (const [at, [reader, writer]] of texts.entries()) {
  const ours = byUs(reader, writer);
  const theirs = java[at] ?? 'nothing';
  if (ours === '') seen.compatible++;
  if (ours === theirs) continue;
  if (aligned(ours, theirs) === ours) seen.knownDifferences++;
  else {
    seen.differences++;
    process.stdout.write(`${reader}\n${writer}\nours: ${ours}\nJava: ${theirs}\n\n`);
  }
}
process.stdout.write(`Avro ${AVRO}, seed ${seed}: ${JSON.stringify(seen)}\n`);
process.exitCode = seen.differences === 0 ? 0 : 1;
