/**
 * A YAML file as documents whose nodes know where they are.
 *
 * Owns the YAML library, its options and its errors. Does not own what the documents mean (parse/). The input is
 * anybody's: size is bounded, aliases are resolved one step at a time (so they cannot be made to explode), and whatever
 * the library throws becomes a problem.
 */
import { create } from '@bufbuild/protobuf';
import { type Location, LocationSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { type Document, isAlias, LineCounter, type Node, parseAllDocuments, type YAMLError } from 'yaml';
import type { Problems } from '../problems.ts';

/** A definition file is at most this long, in characters. */
export const FILE_CHARS_MAX = 1_048_576;

/** What a caller brings: a file's name as the user knows it, and its content. */
export interface DefinitionFile {
  readonly path: string;
  readonly text: string;
}

/** One document of a file. */
export class YamlDocument {
  readonly root: Node;
  readonly #path: string;
  readonly #lines: LineCounter;
  readonly #document: Document;
  readonly #problems: Problems;

  constructor(file: { path: string; lines: LineCounter }, document: Document, root: Node, problems: Problems) {
    this.#path = file.path;
    this.#lines = file.lines;
    this.#document = document;
    this.#problems = problems;
    this.root = root;
  }

  /** Where a node begins. */
  locate(node: Node): Location {
    return locationAt(this.#path, this.#lines, node.range?.[0] ?? 0);
  }

  /** The node, or what it is an alias of; null, with a problem, when there is no such anchor before it. */
  resolve(node: Node | null): Node | null {
    if (!isAlias(node)) return node;
    const target = node.resolve(this.#document);
    if (target !== undefined) return target;
    // Else a mistyped alias would pass for a field with nothing in it.
    const remedy = 'Check the name; text that begins with "*" goes in single quotes.';
    this.#problems.add(this.locate(node), `There is no anchor "${node.source}" before this alias.`, remedy);
    return null;
  }
}

/** The file's documents that are well-formed and not empty; problems of the others are added. */
export function readYamlFile(file: DefinitionFile, problems: Problems): YamlDocument[] {
  if (file.text.length > FILE_CHARS_MAX) {
    const message = `The file has ${file.text.length} characters; a definition file has at most ${FILE_CHARS_MAX}.`;
    problems.add(startOf(file), message, 'Split it into several files.');
    return [];
  }
  const lines = new LineCounter();
  const documents: YamlDocument[] = [];
  for (const document of parse(file, lines, problems)) {
    const faults = [...document.errors, ...document.warnings];
    for (const fault of faults) {
      problems.add(
        locationAt(file.path, lines, fault.pos[0]),
        `This is not valid YAML: ${sentence(fault)}`,
        remedy(fault),
      );
    }
    if (faults.length > 0 || document.contents === null) continue;
    const read = new YamlDocument({ path: file.path, lines }, document, document.contents, problems);
    const root = read.resolve(document.contents);
    // `---` with nothing, or only comments, behind it.
    if (root === null || ('value' in root && root.value === null)) continue;
    documents.push(read);
  }
  return documents;
}

function parse(file: DefinitionFile, lines: LineCounter, problems: Problems): Document[] {
  try {
    const parsed = parseAllDocuments(file.text, {
      version: '1.2',
      intAsBigInt: true,
      customTags: ['binary'],
      uniqueKeys: true,
      strict: true,
      prettyErrors: false,
      lineCounter: lines,
    });
    return 'empty' in parsed ? [] : (parsed as Document[]);
  } catch (error) {
    // The parser recurses: input that nests too deeply overflows the stack.
    const message = error instanceof Error ? error.message : String(error);
    problems.add(startOf(file), `This file cannot be read as YAML: ${message}.`, 'Give a file of YAML documents.');
    return [];
  }
}

function startOf(file: DefinitionFile): Location {
  return create(LocationSchema, { file: file.path, line: 1, column: 1 });
}

function locationAt(path: string, lines: LineCounter, offset: number): Location {
  const { line, col } = lines.linePos(offset);
  return create(LocationSchema, { file: path, line: Math.max(1, line), column: Math.max(1, col) });
}

function sentence(fault: YAMLError): string {
  const message = fault.message.trim();
  return /[.!?]$/.test(message) ? message : `${message}.`;
}

function remedy(fault: YAMLError): string {
  switch (fault.code) {
    case 'DUPLICATE_KEY':
      return 'Give each field once.';
    case 'TAB_AS_INDENT':
      return 'Indent with spaces.';
    case 'TAG_RESOLVE_FAILED':
      return "Text that begins with '!' is a YAML tag: put it in single quotes.";
    default:
      return "Check the indentation and brackets here, and put text that contains ': ', ' #', or quotes at its start in single quotes.";
  }
}
