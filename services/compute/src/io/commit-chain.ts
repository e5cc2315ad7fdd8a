/**
 * The chain over a store's commits: a link for each, numbered without a gap, each hash over the one before. A commit that
 * the disk lost from the middle, which recovery does not tell and no checksum of a value can show, breaks it.
 *
 *     link n−1 ──▶ link n = SHA-256(chain n−1 ‖ body n) ──▶ … ──▶ the commit record names the last
 *                    │ has a journal entry: it carries the same chain
 *
 * Owns making, keeping and checking links. The newest are kept, for more bytes of commits than a store may have in its
 * own log (two write buffers), because only those can be lost from the middle.
 */
import { createHash } from 'node:crypto';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ChainLinkSchema } from '@freshet/gen/freshet/compute/v1/storage_pb.ts';
import type { KeyValueStore, WriteBatch } from '@freshet/store/key-value-store.ts';
import { CHAIN_BYTES } from './journal-codec.ts';
import { LINK_RANGE, linkKey, linkNumber } from './store-keys.ts';

/** How many bytes of commits have a link. */
const KEPT_BYTES = 32 * 1024 * 1024;
/** A commit is at least its record, which has the definitions: some kilobytes. */
const KEPT_LINKS = 16_384;

export const NO_CHAIN: Buffer = Buffer.alloc(CHAIN_BYTES);

/** What a link says of its commit. */
export interface LinkedCommit {
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
}

/** A link with what it was made of. */
export interface Link extends LinkedCommit {
  readonly number: number;
  readonly chain: Buffer;
}

export class CommitChain {
  /** Of the newest commit; all zero before the first. */
  chain: Buffer = NO_CHAIN;
  /** The number of the newest commit; 0 before the first. */
  number = 0;
  /** What each link that is kept says its commit wrote, oldest first. */
  readonly #kept: number[] = [];
  #keptBytes = 0;

  /**
   * The links as they lie in the store, oldest first. Undefined when they are no chain, or do not end as the commit
   * record says.
   */
  static async load(
    store: KeyValueStore,
    number: number,
    chain: Buffer,
  ): Promise<{ chain: CommitChain; links: Link[] } | undefined> {
    const loaded = new CommitChain();
    const links: Link[] = [];
    const entries = store.entries(LINK_RANGE);
    try {
      for (let some = await entries.next(250); some.length > 0; some = await entries.next(250)) {
        for (const [key, value] of some) {
          const link = decodeLink(linkNumber(key), value);
          const before = links.at(-1);
          if (before !== undefined) {
            if (link.number !== before.number + 1 || link.from !== before.to) return undefined;
            if (!link.chain.equals(chainOf(before.chain, link.body))) return undefined;
          }
          links.push(link);
          loaded.#keep(link.bytes);
        }
      }
    } finally {
      await entries.close();
    }
    const newest = links.at(-1);
    if (newest?.number !== number || !newest.chain.equals(chain)) return undefined;
    loaded.chain = newest.chain;
    loaded.number = number;
    return { chain: loaded, links };
  }

  /** Puts the next commit's link into its batch and takes out those that are too old; call `done` once it is written. */
  extend(batch: WriteBatch, commit: LinkedCommit, parts: readonly Uint8Array[]): { chain: Buffer; done: () => void } {
    const { body, chain } = this.next(parts);
    const number = this.number + 1;
    const link = create(ChainLinkSchema, {
      chain,
      body,
      from: BigInt(commit.from),
      to: BigInt(commit.to),
      bytes: commit.bytes,
    });
    batch.put(linkKey(number), toBinary(ChainLinkSchema, link));
    const dropped = this.#over(commit.bytes);
    for (let i = 0; i < dropped; i++) batch.delete(linkKey(number - this.#kept.length + i));
    const done = (): void => {
      for (const bytes of this.#kept.splice(0, dropped)) this.#keptBytes -= bytes;
      this.#keep(commit.bytes);
      this.chain = chain;
      this.number = number;
    };
    return { chain, done };
  }

  /** The chain after a commit of these bytes. */
  next(parts: readonly Uint8Array[]): { body: Buffer; chain: Buffer } {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part);
    const body = hash.digest().subarray(0, CHAIN_BYTES);
    return { body, chain: chainOf(this.chain, body) };
  }

  #keep(bytes: number): void {
    this.#kept.push(bytes);
    this.#keptBytes += bytes;
  }

  /** How many of the oldest links may go when another of so many bytes comes. */
  #over(bytes: number): number {
    let left = this.#keptBytes + bytes;
    let count = 0;
    for (const oldest of this.#kept) {
      if (left - oldest < KEPT_BYTES && this.#kept.length - count < KEPT_LINKS) break;
      left -= oldest;
      count += 1;
    }
    return count;
  }
}

function decodeLink(number: number, value: Uint8Array): Link & { body: Buffer } {
  const { chain, body, from, to, bytes } = fromBinary(ChainLinkSchema, value);
  return { number, chain: Buffer.from(chain), body: Buffer.from(body), from: Number(from), to: Number(to), bytes };
}

function chainOf(before: Buffer, body: Buffer): Buffer {
  return createHash('sha256').update(before).update(body).digest().subarray(0, CHAIN_BYTES);
}
