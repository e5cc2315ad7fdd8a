/**
 * Time as an argument. Everything that needs time takes a Clock; tests pass one that they move by hand
 * (packages/testkit/src/virtual-clock.ts). All instants are microseconds since the Unix epoch, as safe integers.
 */

export interface Clock {
  /** The wall clock in microseconds since the Unix epoch. May jump. */
  nowUs(): number;
  /** A clock that only goes forward, in microseconds from an arbitrary origin. */
  monotonicUs(): number;
  /** Resolves after the delay; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

// Date.now follows corrections of the wall clock but has only milliseconds; performance.now has microseconds but
// does not follow. So: the offset between them is taken anew whenever they part by more than the millisecond.
let originMs = Date.now() - performance.now();

function wallUs(): number {
  const wallMs = Date.now();
  const fineMs = originMs + performance.now();
  if (fineMs >= wallMs && fineMs < wallMs + 1) return Math.floor(fineMs * 1000);
  originMs += fineMs < wallMs ? wallMs - fineMs : wallMs - fineMs + 0.999;
  return Math.floor((originMs + performance.now()) * 1000);
}

// What a timer can wait, milliseconds: 24.8 days. One that is to wait longer would fire at once.
const TIMER_MS_MAX = 2 ** 31 - 1;

async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  let leftMs = ms;
  for (; leftMs > TIMER_MS_MAX; leftMs -= TIMER_MS_MAX) await sleepOnce(TIMER_MS_MAX, signal);
  await sleepOnce(leftMs, signal);
}

function sleepOnce(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

export const systemClock: Clock = {
  nowUs: wallUs,
  monotonicUs: () => Math.floor(performance.now() * 1000),
  sleep,
};
