/**
 * The names on a simulated disk: the directories as programs see them, and the changes that a power cut may take back.
 *
 * Owns the tree and the list of changes that no sync of their directory came after. A change is applied or not as a
 * whole; which of them survive is the caller's chance, in the order in which they were made. Pure.
 */
import { posix } from 'node:path';
import { assert, must } from '@freshet/kit/assert.ts';
import type { DirectoryEntry } from '@freshet/log/file-system.ts';
import type { FileContent } from './file-content.ts';

export type Node = FileContent | DirectoryNode;

export class DirectoryNode {
  /** As programs see it. */
  readonly entries = new Map<string, Node>();
  /** As it was when it was last synced. */
  synced: ReadonlyMap<string, Node> = new Map();

  list(): DirectoryEntry[] {
    const entries = [...this.entries].map(
      ([name, node]): DirectoryEntry => ({
        name,
        kind: node instanceof DirectoryNode ? 'directory' : 'file',
      }),
    );
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

/** What one call did to names; undefined: the name is gone. */
export type NameChange = readonly {
  readonly directory: DirectoryNode;
  readonly name: string;
  readonly node: Node | undefined;
}[];

export class NameTree {
  readonly #root: DirectoryNode;
  #unsynced: NameChange[] = [];

  constructor(root = new DirectoryNode()) {
    this.#root = root;
  }

  find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const name of path.split('/').filter((part) => part !== '')) {
      if (!(node instanceof DirectoryNode)) return undefined;
      node = node.entries.get(name);
    }
    return node;
  }

  link(path: string, node: Node): void {
    this.#apply([{ ...this.#place(path), node }]);
  }

  unlink(path: string): void {
    this.#apply([{ ...this.#place(path), node: undefined }]);
  }

  rename(from: string, to: string): void {
    const node = must(this.find(from));
    this.#apply([
      { ...this.#place(to), node },
      { ...this.#place(from), node: undefined },
    ]);
  }

  /** Makes the entries of a directory durable. */
  sync(directory: DirectoryNode): void {
    directory.synced = new Map(directory.entries);
    // A rename between two directories is durable with either: the journal writes it as one.
    this.#unsynced = this.#unsynced.filter((change) => !change.some((part) => part.directory === directory));
  }

  /** Puts a file there, durably; its directory must be there. */
  put(path: string, node: Node): void {
    const { directory, name } = this.#place(path);
    directory.entries.set(name, node);
    directory.synced = new Map(directory.synced).set(name, node);
  }

  /** Takes a file away, durably. */
  takeAway(path: string): void {
    const { directory, name } = this.#place(path);
    directory.entries.delete(name);
    const synced = new Map(directory.synced);
    synced.delete(name);
    directory.synced = synced;
  }

  /** The paths of all files, ascending. */
  paths(): string[] {
    return [...files(this.#root, '')].map(([path]) => path).sort();
  }

  /** What all files take together. */
  bytes(): number {
    let bytes = 0;
    for (const [, content] of files(this.#root, '')) bytes += content.length;
    return bytes;
  }

  copy(): NameTree {
    return new NameTree(
      rebuilt(
        this.#root,
        (directory) => directory.entries,
        (content) => content.copy(),
        new Map(),
      ),
    );
  }

  /** The names after a power cut: those that were synced, and some of the changes since. */
  afterPowerCut(random: () => number): NameTree {
    const survived = new Map<DirectoryNode, Map<string, Node>>();
    const of = (directory: DirectoryNode): Map<string, Node> => {
      const entries = survived.get(directory) ?? new Map(directory.synced);
      survived.set(directory, entries);
      return entries;
    };
    // A journal loses its newest changes; a file system without one may lose any.
    const inOrder = random() < 0.5;
    const count = inOrder ? Math.floor(random() * (this.#unsynced.length + 1)) : this.#unsynced.length;
    const share = random();
    for (const change of this.#unsynced.slice(0, count)) {
      if (!inOrder && random() >= share) continue;
      for (const { directory, name, node } of change) {
        if (node === undefined) of(directory).delete(name);
        else of(directory).set(name, node);
      }
    }
    const contents = new Map<FileContent, FileContent>();
    const root = rebuilt(this.#root, of, (content) => content.afterPowerCut(random), contents);
    return new NameTree(root);
  }

  #apply(change: NameChange): void {
    for (const { directory, name, node } of change) {
      if (node === undefined) directory.entries.delete(name);
      else directory.entries.set(name, node);
    }
    this.#unsynced.push(change);
  }

  #place(path: string): { directory: DirectoryNode; name: string } {
    const directory = this.find(posix.dirname(path));
    assert(directory instanceof DirectoryNode, `there is no directory for ${path}`);
    return { directory, name: posix.basename(path) };
  }
}

function* files(directory: DirectoryNode, path: string): Generator<[string, FileContent]> {
  for (const [name, node] of directory.entries) {
    if (node instanceof DirectoryNode) yield* files(node, `${path}/${name}`);
    else yield [`${path}/${name}`, node];
  }
}

/** A tree of its own, with other entries and contents; a file under two names stays one file. */
function rebuilt(
  from: DirectoryNode,
  entriesOf: (directory: DirectoryNode) => ReadonlyMap<string, Node>,
  contentOf: (content: FileContent) => FileContent,
  contents: Map<FileContent, FileContent>,
): DirectoryNode {
  const to = new DirectoryNode();
  for (const [name, node] of [...entriesOf(from)].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (node instanceof DirectoryNode) {
      to.entries.set(name, rebuilt(node, entriesOf, contentOf, contents));
      continue;
    }
    const content = contents.get(node) ?? contentOf(node);
    contents.set(node, content);
    to.entries.set(name, content);
  }
  to.synced = new Map(to.entries);
  return to;
}
