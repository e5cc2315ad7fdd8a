/**
 * A disk in memory that does to its files what disks do on their worst day, behind the interface that production code
 * uses (@freshet/log/file-system.ts). Deterministic: no timers, no clock, and chance is the caller's.
 *
 *     const disk = new SimulatedDisk({ step: (operation) => … });    // each I/O, numbered from 0, before it happens
 *     …                                                              // step may wait, reorder, throw, or cut the power
 *     const after = disk.powerCut(random);                           // what is left; the old life can do nothing more
 *
 * What a power cut leaves. Content: per sector of 512 bytes what was synced, or what was written since; the length that
 * was synced, or the new one, or one between. Names: per change that no syncDirectory() came after, done or not; a
 * rename is one change. A sync that lied has synced nothing; one that failed has dropped what it was to write, and a
 * later one that succeeds does not bring it back. A killed process (kill()) loses nothing but its handles and locks.
 *
 * Owns the files, their faults and damages. Not a model of permissions, links or time stamps.
 */
import { posix } from 'node:path';
import { assert, must } from '@freshet/kit/assert.ts';
import type { DirectoryLock } from '@freshet/kit/directory-lock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { DirectoryEntry, DiskFile, FileStatus, FileSystem, OpenMode } from '@freshet/log/file-system.ts';
import { FileContent } from './file-content.ts';
import { DirectoryNode, NameTree, type Node } from './name-tree.ts';
import type { Random } from './random.ts';

export type OperationKind =
  | 'open'
  | 'list'
  | 'stat'
  | 'makeDirectory'
  | 'rename'
  | 'remove'
  | 'removeDirectory'
  | 'syncDirectory'
  | 'freeBytes'
  | 'lock'
  | 'read'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'length'
  | 'close';

/** One I/O. */
export interface DiskOperation {
  /** From 0, over the whole life of the disk, power cuts included. */
  readonly number: number;
  readonly kind: OperationKind;
  readonly path: string;
  /** Whether it may change what is on the disk, or what of it is safe. */
  readonly changes: boolean;
}

export interface SimulatedDiskOptions {
  /**
   * Awaited before each I/O happens. It may wait for a scheduler, throw an error for the I/O to fail with
   * (diskFailure('EIO')), or end this life of the disk by powerCut() or kill(): the I/O then does not happen.
   */
  readonly step?: ((operation: DiskOperation, disk: SimulatedDisk) => Promise<void> | void) | undefined;
  /** What all files together may take, in bytes. Default: no limit. */
  readonly capacityBytes?: number | undefined;
}

/** An error as the system gives them. */
export function diskFailure(code: string, path = ''): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: simulated, ${path}`), { code, path });
}

/** What every call of an ended life throws. */
export class PowerIsOff extends Error {
  override readonly name = 'PowerIsOff';
}

export class SimulatedDisk implements FileSystem {
  /** See SimulatedDiskOptions; may be changed at any time. */
  step: (operation: DiskOperation, disk: SimulatedDisk) => Promise<void> | void;
  /** What all files together may take, in bytes: writes beyond fail with ENOSPC after what still fits. */
  capacityBytes: number;
  /** Every change fails with EROFS. */
  readOnly = false;
  /** Opening more files at once fails with EMFILE. */
  openFilesMax = Infinity;
  /** Whether sync() and syncDirectory() say that all is well and do nothing. */
  lies = false;
  readonly #tree: NameTree;
  readonly #locks = new Set<string>();
  #open = 0;
  #operations: number;
  #isOff = false;

  constructor(options: SimulatedDiskOptions = {}, tree = new NameTree(), operations = 0) {
    this.step = options.step ?? (() => {});
    this.capacityBytes = options.capacityBytes ?? Infinity;
    this.#tree = tree;
    this.#operations = operations;
  }

  /** How many I/Os there were. */
  get operations(): number {
    return this.#operations;
  }

  /** How many handles are open. */
  get openFiles(): number {
    return this.#open;
  }

  // --- Lives.

  /** Ends this life; the disk as it is when the power is back. Its step and limits are to be set anew. */
  powerCut(random: Pick<Random, 'real'>): SimulatedDisk {
    this.#end();
    return new SimulatedDisk(
      {},
      this.#tree.afterPowerCut(() => random.real()),
      this.#operations,
    );
  }

  /** Ends this life as the end of a process does: everything written is there, nothing of it is safer than before. */
  kill(): SimulatedDisk {
    this.#end();
    return new SimulatedDisk({ capacityBytes: this.capacityBytes }, this.#tree, this.#operations);
  }

  /** A disk of its own with the same content, all of it synced, for trying something out. */
  copy(): SimulatedDisk {
    return new SimulatedDisk({ capacityBytes: this.capacityBytes }, this.#tree.copy(), this.#operations);
  }

  #end(): void {
    assert(!this.#isOff, 'a life that ends twice');
    this.#isOff = true;
  }

  // --- Damage, by hand of the test: synced at once, noticed by nobody.

  /** The paths of all files, ascending. */
  paths(): string[] {
    return this.#tree.paths();
  }

  /** A copy of a file's content. */
  content(path: string): Uint8Array {
    return this.#file(path).bytes().slice();
  }

  /** Puts other content in a file, or makes it. */
  setContent(path: string, bytes: Uint8Array): void {
    this.#tree.put(normal(path), FileContent.of(bytes));
  }

  /** Flips bits of one byte of a file, under whoever has it open. */
  flip(path: string, at: number, mask: number): void {
    this.#file(path).flip(at, mask);
  }

  /** Takes a file away. */
  takeAway(path: string): void {
    this.#tree.takeAway(normal(path));
  }

  // --- FileSystem.

  open(path: string, mode: OpenMode): Promise<DiskFile> {
    return this.#io('open', path, mode === 'create' || mode === 'overwrite', () => {
      if (this.#open >= this.openFilesMax) throw diskFailure('EMFILE', path);
      const node = this.#opened(path, mode);
      if (mode === 'write' && this.readOnly) throw diskFailure('EROFS', path);
      this.#open++;
      return this.#handle(path, node, mode !== 'read');
    });
  }

  #opened(path: string, mode: OpenMode): FileContent {
    const node = this.#tree.find(normal(path));
    if (node instanceof DirectoryNode) throw diskFailure('EISDIR', path);
    if (mode === 'create' && node !== undefined) throw diskFailure('EEXIST', path);
    if (node !== undefined) {
      if (mode === 'overwrite') node.truncate(0);
      return node;
    }
    if (mode === 'read' || mode === 'write') throw diskFailure('ENOENT', path);
    this.#directory(posix.dirname(normal(path)));
    const made = FileContent.of(new Uint8Array(0));
    this.#tree.link(normal(path), made);
    return made;
  }

  list(directory: string): Promise<DirectoryEntry[]> {
    return this.#io('list', directory, false, () => this.#directory(directory).list());
  }

  stat(path: string): Promise<FileStatus | undefined> {
    return this.#io('stat', path, false, () => {
      const node = this.#tree.find(normal(path));
      if (node === undefined) return undefined;
      return node instanceof DirectoryNode ? { kind: 'directory', size: 0 } : { kind: 'file', size: node.length };
    });
  }

  async makeDirectory(path: string): Promise<void> {
    const missing: string[] = [];
    for (let at = normal(path); this.#tree.find(at) === undefined; at = posix.dirname(at)) missing.unshift(at);
    if (this.#tree.find(normal(path)) instanceof FileContent) throw diskFailure('EEXIST', path);
    for (const at of missing) {
      await this.#io('makeDirectory', at, true, () => {
        this.#directory(posix.dirname(at));
        if (this.#tree.find(at) === undefined) this.#tree.link(at, new DirectoryNode());
      });
    }
    for (const at of missing.length > 0 ? missing : [normal(path)]) await this.syncDirectory(posix.dirname(at));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#io('rename', to, true, () => {
      if (this.#tree.find(normal(from)) === undefined) throw diskFailure('ENOENT', from);
      this.#directory(posix.dirname(normal(to)));
      this.#tree.rename(normal(from), normal(to));
    });
  }

  remove(path: string): Promise<void> {
    return this.#io('remove', path, true, () => {
      const node = this.#tree.find(normal(path));
      if (node instanceof DirectoryNode) throw diskFailure('EISDIR', path);
      if (node !== undefined) this.#tree.unlink(normal(path));
    });
  }

  removeDirectory(path: string): Promise<void> {
    return this.#io('removeDirectory', path, true, () => {
      if (this.#tree.find(normal(path)) !== undefined) this.#tree.unlink(normal(path));
    });
  }

  syncDirectory(path: string): Promise<void> {
    return this.#io('syncDirectory', path, false, () => {
      const directory = this.#directory(path);
      if (!this.lies) this.#tree.sync(directory);
    });
  }

  freeBytes(path: string): Promise<number> {
    return this.#io('freeBytes', path, false, () => this.#free());
  }

  lockDirectory(path: string, what: string): Promise<DirectoryLock> {
    return this.#io('lock', path, false, () => {
      const key = normal(path);
      if (this.#locks.has(key)) {
        throw new FreshetError('STORE_LOCKED', `another process has ${what} open`, { place: path });
      }
      this.#locks.add(key);
      return {
        release: () => {
          this.#locks.delete(key);
          return Promise.resolve();
        },
      };
    });
  }

  // --- Handles.

  #handle(path: string, content: FileContent, writable: boolean): DiskFile {
    let isOpen = true;
    const io = async <T>(kind: OperationKind, changes: boolean, act: () => T): Promise<T> => {
      if (!isOpen || (changes && !writable)) throw diskFailure('EBADF', path);
      return this.#io(kind, path, changes, () => {
        if (!isOpen) throw diskFailure('EBADF', path);
        return act();
      });
    };
    return {
      read: (target, position) => io('read', false, () => content.read(target, position)),
      write: (parts, position) => io('write', true, () => this.#write(content, parts, position, path)),
      sync: async () => {
        try {
          await io('sync', false, () => {
            if (!this.lies) content.sync();
          });
        } catch (error) {
          // The system drops what it could not write, and the next sync knows nothing of it.
          if (!this.#isOff) content.dropUnsynced();
          throw error;
        }
      },
      truncate: (length) => io('truncate', true, () => content.truncate(length)),
      length: () => io('length', false, () => content.length),
      close: async () => {
        if (!isOpen) return;
        // Closed whatever it says, as the system does it.
        isOpen = false;
        this.#open--;
        await this.#io('close', path, false, () => {});
      },
    };
  }

  #write(content: FileContent, parts: readonly Uint8Array[], position: number, path: string): void {
    let at = position;
    for (const part of parts) {
      const room = this.#free() + Math.max(0, content.length - at);
      content.write(part.subarray(0, Math.max(0, room)), at);
      if (room < part.length) throw diskFailure('ENOSPC', path);
      at += part.length;
    }
  }

  /**
   * Numbers an I/O, lets the step have its way, refuses what the disk refuses, and does it: at once after the last look
   * at whether the power is on, so that nothing happens to, or is answered by, a disk that was cut off meanwhile.
   */
  async #io<T>(kind: OperationKind, path: string, changes: boolean, act: () => T): Promise<T> {
    if (this.#isOff) throw new PowerIsOff(path);
    const matters = changes || kind === 'sync' || kind === 'syncDirectory';
    await this.step({ number: this.#operations++, kind, path, changes: matters }, this);
    if (this.#isOff) throw new PowerIsOff(path);
    if (changes && this.readOnly) throw diskFailure('EROFS', path);
    return act();
  }

  /** What files take now, bytes. */
  get usedBytes(): number {
    return this.#tree.bytes();
  }

  #free(): number {
    return this.capacityBytes === Infinity ? Infinity : Math.max(0, this.capacityBytes - this.#tree.bytes());
  }

  #directory(path: string): DirectoryNode {
    const node = this.#tree.find(normal(path));
    if (node === undefined) throw diskFailure('ENOENT', path);
    if (!(node instanceof DirectoryNode)) throw diskFailure('ENOTDIR', path);
    return node;
  }

  #file(path: string): FileContent {
    const node: Node = must(this.#tree.find(normal(path)), `there is no ${path}`);
    assert(node instanceof FileContent, `${path} is a directory`);
    return node;
  }
}

function normal(path: string): string {
  return posix.resolve('/', path);
}
