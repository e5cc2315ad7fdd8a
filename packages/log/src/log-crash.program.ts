/**
 * A process for log-crash.test.ts to kill: appends in a loop to the log that it is told, several appends at once, and
 * tells its parent what was acknowledged, after it was. Arguments: directory, partitions, segment bytes, round.
 */
import { systemClock } from '@freshet/kit/clock.ts';
import { openSegmentLog } from './segment-log.ts';

const [directory = '', partitions = '1', segmentBytes = '1000000', round = '0'] = process.argv.slice(2);
const count = Number(partitions);
const log = await openSegmentLog({
  directory,
  partitions: count,
  clock: systemClock,
  segmentBytes: Number(segmentBytes),
  tailBytes: 0,
});

async function appendForEver(partition: number, writer: number): Promise<never> {
  for (let n = 0; ; n++) {
    // Lengths vary, so that kills hit frames of all sizes.
    const records = Array.from({ length: 1 + (n % 3) }, (_, index) =>
      Buffer.from(`${round}/${writer}/${n}/${index}:`.padEnd(20 + ((n * 37) % 3_000), '.')),
    );
    const { firstOffset } = await log.append(partition, records);
    const texts = records.map((record) => record.toString().replace(/\.+$/, ''));
    process.send?.({ partition, firstOffset, texts });
  }
}

await Promise.all([...Array(count * 3).keys()].map((writer) => appendForEver(writer % count, writer)));
