/** The sizes that bound the log's memory (R4) and its pieces of work. Options may change those that say so. */

const KIB = 1024;
const MIB = 1024 * KIB;

/** One batch of a read, and one piece of the tail in memory; a single larger record makes a larger one. */
export const BATCH_BYTES = 256 * KIB;
/** What one partition writes in one flush, beyond its first append: keeps the encoding between two fsyncs short. */
export const FLUSH_BYTES_MAX = MIB;
/** Default of SegmentLogOptions.segmentBytes. */
export const SEGMENT_BYTES = 64 * MIB;
/** Default of SegmentLogOptions.tailBytes. */
export const TAIL_BYTES = 64 * MIB;
/** Default of SegmentLogOptions.pendingBytesMax. */
export const PENDING_BYTES_MAX = 64 * MIB;
/** What a piece of the tail takes in memory beside its bytes. */
export const TAIL_PIECE_OVERHEAD_BYTES = 256;
/** The distance of entries in a segment's index: what a reader walks at most to find its offset. */
export const INDEX_SPACING_BYTES = 256 * KIB;
/** What a scrub reads at once. */
export const SCRUB_BYTES = MIB;
/** Default of SegmentLogOptions.minFreeBytes. */
export const MIN_FREE_BYTES = 64 * MIB;
/** More partitions than this are a mistake of configuration. */
export const PARTITIONS_MAX = 1024;
