/**
 * The bytes of a simulated file: as programs see them, and what of them a power cut may take back.
 *
 * Owns content, length, and per sector of 512 bytes the content that was last synced, as far as it differs. Pure.
 */
import { assert } from '@freshet/kit/assert.ts';

export const SECTOR_BYTES = 512;

export class FileContent {
  #bytes: Uint8Array = new Uint8Array(0);
  #length = 0;
  #syncedLength = 0;
  /** Sectors that were written since the last sync, as they were then. */
  #dirty = new Map<number, Uint8Array>();
  /** Sectors whose sync failed: no later sync writes them, unless they are written again. */
  readonly #dropped = new Map<number, Uint8Array>();

  /** A file with that content, all of it synced. */
  static of(bytes: Uint8Array): FileContent {
    const content = new FileContent();
    content.#bytes = bytes.slice();
    content.#length = bytes.length;
    content.#syncedLength = bytes.length;
    return content;
  }

  get length(): number {
    return this.#length;
  }

  /** The content as programs see it; changes with the file. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  read(target: Uint8Array, position: number): number {
    const found = this.#bytes.subarray(
      Math.min(position, this.#length),
      Math.min(position + target.length, this.#length),
    );
    target.set(found);
    return found.length;
  }

  write(part: Uint8Array, position: number): void {
    if (part.length === 0) return;
    const end = position + part.length;
    this.#touch(Math.min(position, this.#length), end);
    this.#reserve(end);
    this.#bytes.set(part, position);
    this.#length = Math.max(this.#length, end);
  }

  truncate(length: number): void {
    assert(length >= 0, 'a negative length');
    this.#touch(Math.min(length, this.#length), Math.max(length, this.#length));
    this.#reserve(length);
    this.#bytes.fill(0, Math.min(length, this.#length));
    this.#length = length;
  }

  /** Damage: what is there is changed, and nobody wrote it. A sector that is written again is right again. */
  flip(at: number, mask: number): void {
    assert(at < this.#length, 'a byte beyond the end');
    this.#bytes[at] = (this.#bytes[at] ?? 0) ^ mask;
  }

  sync(): void {
    this.#dirty.clear();
    this.#syncedLength = this.#length;
  }

  /** What a sync that fails leaves: content that programs see, but that nothing will write any more. */
  dropUnsynced(): void {
    for (const [sector, was] of this.#dirty) if (!this.#dropped.has(sector)) this.#dropped.set(sector, was);
    this.#dirty = new Map();
  }

  /** The file after a power cut. */
  afterPowerCut(random: () => number): FileContent {
    const length = this.#lengthAfter(random);
    const bytes = new Uint8Array(length);
    bytes.set(this.#bytes.subarray(0, Math.min(length, this.#length)));
    // All of the unsynced gone, all of it there, or some: each of them is a common case worth meeting often.
    const share = [0, 1, random()][Math.floor(random() * 3)] ?? 0;
    for (const [sector, was] of new Map([...this.#dirty, ...this.#dropped])) {
      if (random() < share) continue;
      const at = sector * SECTOR_BYTES;
      if (at >= length) continue;
      const room = Math.min(SECTOR_BYTES, length - at);
      bytes.fill(0, at, at + room);
      bytes.set(was.subarray(0, room), at);
    }
    return FileContent.of(bytes);
  }

  copy(): FileContent {
    return FileContent.of(this.bytes());
  }

  #lengthAfter(random: () => number): number {
    const [least, most] = [Math.min(this.#length, this.#syncedLength), Math.max(this.#length, this.#syncedLength)];
    const choice = random();
    if (choice < 0.35) return this.#syncedLength;
    return choice < 0.7 ? this.#length : least + Math.floor(random() * (most - least + 1));
  }

  /** Keeps what the sectors of a range hold, before they change for the first time since the last sync. */
  #touch(from: number, to: number): void {
    for (let sector = Math.floor(from / SECTOR_BYTES); sector * SECTOR_BYTES < to; sector++) {
      const dropped = this.#dropped.get(sector);
      if (dropped !== undefined) this.#dropped.delete(sector);
      if (this.#dirty.has(sector)) continue;
      const at = sector * SECTOR_BYTES;
      this.#dirty.set(sector, dropped ?? this.#bytes.slice(at, Math.min(at + SECTOR_BYTES, this.#length)));
    }
  }

  #reserve(length: number): void {
    if (length <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(length, this.#bytes.length * 2, 4096));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}
