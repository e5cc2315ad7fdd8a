/**
 * Builds that are broken on purpose, each by one change of one production file: the simulator must catch every one of
 * them, or its green says nothing. docs/simulation.md lists them with what caught them.
 *
 * Owns the list. A change that no longer applies (the text is not there exactly once) is an error: mend it here.
 */

export interface BrokenBuild {
  readonly name: string;
  readonly about: string;
  readonly file: string;
  readonly changes: readonly { readonly find: string; readonly replace: string }[];
}

export const BROKEN_BUILDS: readonly BrokenBuild[] = [
  {
    name: 'accept-repetitions',
    about: 'a shard folds what it has folded already (F3)',
    file: 'packages/engine/src/fold/route-progress.ts',
    changes: [{ find: '    if (!isNewer(record, mark)) return false;\n', replace: '' }],
  },
  {
    name: 'forget-marks',
    about: 'lane marks are not restored from a commit (F3)',
    file: 'packages/engine/src/fold/route-progress.ts',
    changes: [
      {
        find: '      progress.#marks.set(lane, { major: normaliseInteger(major), minor: normaliseInteger(minor), part });',
        replace: '      void [lane, major, minor, part, normaliseInteger];',
      },
    ],
  },
  {
    name: 'evict-dirty',
    about: 'a state that is not committed is dropped from memory (F1)',
    file: 'packages/engine/src/fold/state-cache.ts',
    changes: [{ find: '} else if (state.stage === Stage.CLEAN) {', replace: '} else {' }],
  },
  {
    name: 'evict-before-durable',
    about: 'states are dropped before the commit that has them is written (F1)',
    file: 'services/compute/src/core/shard.ts',
    changes: [
      {
        find: '    const taken = this.#fold.takeCommit();',
        replace: '    const taken = this.#fold.takeCommit();\n    this.#fold.evict();',
      },
    ],
  },
  {
    name: 'journal-forgets',
    about: "a commit's journal entry names only some of the keys that changed (R1)",
    file: 'packages/engine/src/shard-fold.ts',
    changes: [
      {
        find: 'if (bytes !== undefined && state.version >= completeAt) keys.add(state.key);',
        replace: 'if (bytes !== undefined && state.version >= completeAt && keys.size < 1) keys.add(state.key);',
      },
    ],
  },
  {
    name: 'mix-generations',
    about: 'a view goes over to a new generation shard by shard (R3)',
    file: 'packages/replica/src/generations.ts',
    changes: [
      {
        find: '  const ascending = generationsOf(shards);\n  for (',
        replace:
          '  const ascending = generationsOf(shards);\n' +
          '  const newest = shards.map(({ whole }) => whole.at(-1));\n' +
          '  if (newest.every((table) => table !== undefined)) return newest;\n  for (',
      },
    ],
  },
  {
    name: 'drop-value-crc',
    about: 'the checksum of a stored value is not compared',
    file: 'packages/store/src/sealed-value.ts',
    changes: [
      {
        find: '  return crc === sealed.readUInt32LE(length) ? ',
        replace: '  return crc !== -1 ? ',
      },
    ],
  },
  {
    name: 'states-after-commit',
    about: "a commit's states are written after the commit that they go with",
    file: 'services/compute/src/io/shard-store.ts',
    changes: [
      {
        find: 'const { keySets, bytes } = await this.#putStates(batch, next, taken);',
        replace:
          'const later = this.#store.batch();\n      const { keySets, bytes } = await this.#putStates(later, next, taken);',
      },
      {
        find: '      await batch.write({ sync: false });\n      link.done();',
        replace:
          '      await batch.write({ sync: false });\n      await later.write({ sync: false });\n      link.done();',
      },
    ],
  },
  {
    name: 'gap-is-an-end',
    about: 'a journal that no longer reaches back is taken for one without changes (R1)',
    file: 'services/compute/src/core/shard-follower.ts',
    changes: [
      {
        find: "      if (changes === undefined) return 'gap';",
        replace: "      if (changes === undefined) return 'done';",
      },
    ],
  },
  {
    name: 'complete-too-early',
    about: 'frames say complete through the head, not through what was sent (R1)',
    file: 'services/compute/src/core/shard-follower.ts',
    changes: [
      {
        find: '      this.#completeThroughUs = logTimeUs;\n    }',
        replace: '      this.#completeThroughUs = Math.max(logTimeUs, this.#shard.head.logTimeUs);\n    }',
      },
    ],
  },
  {
    name: 'left-for-later',
    about: 'a key that changes again later is left out of the round that it belongs to (R1)',
    file: 'services/compute/src/core/shard-follower.ts',
    changes: [
      {
        find: 'version !== undefined && version >= at && version < to;',
        replace: 'version !== undefined && version >= at;',
      },
    ],
  },
  {
    name: 'pass-skips-changes',
    about: 'changes since a pass began are not sent (R1)',
    file: 'services/compute/src/core/shard-follower.ts',
    changes: [{ find: '    if (committed.position < this.#live.position) this.#live = committed;\n', replace: '' }],
  },
  {
    name: 'apply-older-rows',
    about: 'a replica takes an older row for a newer one (R2)',
    file: 'packages/replica/src/view-table.ts',
    changes: [{ find: '    if (version <= row.version) return;', replace: '    if (version === row.version) return;' }],
  },
  {
    name: 'ignore-sequence',
    about: 'frames that are lost, doubled or out of place are not noticed (R1)',
    file: 'packages/replica/src/frame-sequence.ts',
    changes: [{ find: '    if (frame.sequence !== next) {', replace: '    if (frame.sequence < 0n) {' }],
  },
  {
    name: 'ignore-row-digest',
    about: "a replica's rows on disk are not compared with their digest (R1)",
    file: 'packages/replica/src/replica-loader.ts',
    changes: [
      { find: '    if (table.storedDigest !== record.digest) return', replace: '    if (record.digest < 0) return' },
    ],
  },
  {
    name: 'acknowledge-too-early',
    about: 'a position is acknowledged before what lies before it is durable (I1)',
    file: 'services/ingest/src/core/acknowledger.ts',
    changes: [
      { find: '    while (this.#flights[0]?.settled === true) {', replace: '    while (this.#flights.length > 0) {' },
    ],
  },
  {
    name: 'no-fsync',
    about: 'append resolves without an fsync (L1)',
    file: 'packages/log/src/segment-writer.ts',
    changes: [{ find: '    await known(() => file.sync());\n    for', replace: '    for' }],
  },
  {
    name: 'trim-too-far',
    about: 'the log is trimmed without asking for checkpoints (L2)',
    file: 'services/ingest/src/core/checkpoint-book.ts',
    changes: [
      {
        find: '    return offsets.length === 0 || least === 0 ? undefined : least;',
        replace: '    return Number.isNaN(least) ? undefined : Number.MAX_SAFE_INTEGER;',
      },
    ],
  },
  {
    name: 'read-before-told',
    about: 'a shard reads the log before anybody knows what it needs of it (L2)',
    file: 'services/compute/src/core/live-loop.ts',
    changes: [{ find: '      await shard.options.beforeReading?.(logId, signal);\n', replace: '' }],
  },
  {
    name: 'trim-by-furthest',
    about: 'the log is trimmed as far as the node allows that is furthest (L2)',
    file: 'services/ingest/src/core/checkpoint-book.ts',
    changes: [{ find: 'const least = Math.min(...offsets);', replace: 'const least = Math.max(...offsets);' }],
  },
  {
    name: 'snapshot-and-stream',
    about: 'rows of the snapshot come by the stream once more (F3)',
    file: 'services/ingest/src/core/change-stream.ts',
    changes: [{ find: '      if (transaction.commitLsn < binding.live.fromLsn) continue;\n', replace: '' }],
  },
  {
    name: 'restore-anything',
    about: 'a checkpoint is restored into a store without saying where it is',
    file: 'services/compute/src/io/shard-restore.ts',
    changes: [
      {
        find: '    for (; next.done !== true; next = await states.next()) {\n      for (const [instance, key, state] of next.value)',
        replace:
          '    for (; next.done !== true; next = await states.next()) {\n      for (const [instance, key, state] of next.value.slice(1))',
      },
    ],
  },
  {
    name: 'half-service',
    about: 'a service goes over to newer definitions before all its views are whole (R3)',
    file: 'packages/replica/src/catalog.ts',
    changes: [
      {
        find: '    if (view === undefined || layout === undefined) return undefined;',
        replace: '    if (view === undefined || layout === undefined) continue;',
      },
    ],
  },
  {
    name: 'begin-all-anew',
    about: 'a change of definitions begins views anew that it keeps (R3)',
    file: 'packages/engine/src/fold/force.ts',
    changes: [{ find: '      if (isSameRoutes(wanted.get(viewId), instance.view.plan)) continue;\n', replace: '' }],
  },
  {
    name: 'update-keeps-old',
    about: 'an update does not take the old image out (F2)',
    file: 'packages/engine/src/fold/mutable-fold.ts',
    changes: [
      {
        find: '    if (isInsert && !isUnique) return false;',
        replace: '    if ((isInsert && !isUnique) || operation === Operation.UPDATE) return false;',
      },
    ],
  },
  {
    name: 'moved-row-stays',
    about: 'the entity that a row left is not told (F2)',
    file: 'services/ingest/src/core/route-change.ts',
    changes: [{ find: '  return !stays || (isAside &&', replace: '  return isAside && (!stays ||' }],
  },
  {
    name: 'truncate-one-partition',
    about: 'a truncation is told to the first partition only (F2)',
    file: 'services/ingest/src/core/change-stream.ts',
    changes: [
      {
        find: 'partition < route.partitions; partition++) this.#batch',
        replace: 'partition < 1; partition++) this.#batch',
      },
    ],
  },
  {
    name: 'no-refold',
    about: 'an extreme that was taken out stays (F2)',
    file: 'packages/engine/src/state/mutable-state.ts',
    changes: [{ find: '      this.#again.push({ group, pane, fold });\n', replace: '' }],
  },
  {
    name: 'join-late',
    about: 'a change of a joined row is seen with the next change of that row (F2)',
    file: 'packages/engine/src/fold/table-rows.ts',
    changes: [
      {
        find: '  readonly #rows = new Map<string, TableRow>();\n',
        replace: '  readonly #rows = new Map<string, TableRow>();\n  readonly #late = new Map<string, Uint8Array>();\n',
      },
      {
        find: '    this.#set(record.key, writer.take());',
        replace:
          '    const bytes = writer.take();\n    this.#set(record.key, this.#late.get(record.key) ?? bytes);\n' +
          '    this.#late.set(record.key, bytes);',
      },
    ],
  },
  {
    name: 'forget-contributions',
    about: 'what rows put in is not part of a commit (F1)',
    file: 'packages/engine/src/shard-fold.ts',
    changes: [{ find: '          puts.push([contributionsName, key, bytes, replaced]);\n', replace: '' }],
  },
  {
    name: 'sweep-too-early',
    about: 'a state is freed while a window still reaches it (F2)',
    file: 'packages/engine/src/state/reach.ts',
    changes: [
      {
        find: '    return !reach.hasTtl && !isInReach(reach, newestUs, logTimeUs);',
        replace: '    return !reach.hasTtl;',
      },
    ],
  },
  {
    name: 'newest-stays',
    about: 'a ttl counts from a row that is gone (F2)',
    file: 'packages/engine/src/state/mutable-state.ts',
    changes: [
      {
        find: 'removed.eventTimeUs === newestUs && addedUs < newestUs;',
        replace: 'removed.eventTimeUs === newestUs + 1 && addedUs < newestUs;',
      },
    ],
  },
  {
    name: 'overtake-held',
    about: 'a row goes past those of its table that are held (C1)',
    file: 'services/ingest/src/core/hold.ts',
    changes: [
      { find: '    return this.#table !== undefined && !isBefore(place, this.#table);', replace: '    return false;' },
    ],
  },
  {
    name: 'ignore-timeline',
    about: 'a database that was put back is taken for the one that was captured, whatever commits it has (I1)',
    file: 'services/ingest/src/core/lost-history.ts',
    changes: [
      {
        find: '  if (state.timeline !== 0 && state.timeline !== timeline) {',
        replace: '  if (state.timeline < timeline - 99) {',
      },
      {
        find: 'strayLsn: bigint): LostHistory {',
        replace: 'strayLsn: bigint) {\n  if (strayLsn > 0n) return undefined;',
      },
    ],
  },
  {
    name: 'rewound-log-is-fine',
    about: 'after a loss of history the routes go on in the generation that they had (F2)',
    file: 'services/ingest/src/core/source-state.ts',
    changes: [
      {
        find: "    routes: state.routes.map((route) => ({ ...route, phase: 'ended' as const, fromLsn: 0n, stage: '' })),",
        replace: '    routes: state.routes.map((route) => ({ ...route, fromLsn: 0n })),',
      },
    ],
  },
  {
    name: 'erase-keeps-state',
    about: 'an Erase record leaves the state of its key as it is (F1)',
    file: 'packages/engine/src/fold/force.ts',
    changes: [{ find: '        eraseIn(fed, this.definitions, erasure, entry);\n', replace: '        void fed;\n' }],
  },
  {
    name: 'erase-untold',
    about: 'the row that an Erase record leaves is told to nobody who follows (R1)',
    file: 'packages/engine/src/fold/view-instance.ts',
    changes: [
      {
        find: '    this.#emit(state);\n  }\n\n  /** As erase(), while',
        replace: '  }\n\n  /** As erase(), while',
      },
    ],
  },
  {
    name: 'keep-checkpoints',
    about: 'the checkpoints from before an erase stay (docs/rfd/0003-erase.md)',
    file: 'services/compute/src/core/forget-entity.ts',
    changes: [
      {
        find: 'await place.checkpoints.removeOthers(info);',
        replace: 'place.checkpoints.list.length - [info].length;',
      },
    ],
  },
  {
    name: 'ignore-missed-erase',
    about: 'state from before an erase goes on behind it, without the record (F1)',
    file: 'services/compute/src/core/missed-erase.ts',
    changes: [{ find: '      if (begunAt <= gone) throw', replace: '      if (begunAt < 0) throw' }],
  },
  {
    name: 'forget-keeps-journal',
    about: 'the journal that names an erased key stays',
    file: 'services/compute/src/core/shard.ts',
    changes: [
      {
        find: '    this.#forgottenThrough = Math.max(this.#forgottenThrough, through);',
        replace: '    this.#forgottenThrough = Math.min(this.#forgottenThrough, through);',
      },
      { find: 'while ((storage.journal.slots[0]?.from ?? Infinity) <= through) {', replace: 'while (through < 0) {' },
    ],
  },
  {
    name: 'ending-is-forgotten',
    about: 'ingest does not know after a crash that an erase was at its last step',
    file: 'services/ingest/src/io/eraser.ts',
    changes: [{ find: 'rowsGoneAt, isEnding: true });', replace: 'rowsGoneAt });' }],
  },
  {
    name: 'complete-without-asking',
    about: 'a receipt is complete though compute nodes with state were not reached (F1)',
    file: 'services/ingest/src/core/erase-receipt.ts',
    changes: [
      {
        find: '    if (state.places.some((one) => one.place === place)) continue;',
        replace: '    if (state.places.some((one) => one.place !== place)) continue;',
      },
    ],
  },
  {
    name: 'confirm-unwritten',
    about: 'a replica confirms an erase that its disk does not have yet',
    file: 'packages/replica/src/disk-keeper.ts',
    changes: [
      {
        find: '      const before = keys();\n      await store.flush(state, () => this.#relieve());\n',
        replace: '      const before = keys();\n',
      },
    ],
  },
  {
    name: 'filler-is-another',
    about: 'a filler has a checksum of its own, and is another record than the one that was erased (L1)',
    file: 'packages/log/src/segment-erase.ts',
    changes: [{ find: 'encodeErased(length, crc, left)', replace: 'encodeErased(length, crc ^ 1, left)' }],
  },
  {
    name: 'definitions-were-written',
    about: 'a log that lost records is taken to have the definitions that were written to it (L1)',
    file: 'services/ingest/src/io/ingest-node.ts',
    changes: [{ find: "if (lost === '') return", replace: "if (lost !== '?') return" }],
  },
];
