/**
 * Waits until a generation of definitions is served, and shows how far it is.
 *
 * Owns how often is asked, and where progress is written: on a terminal as a block of lines that is written over, else as
 * lines now and then, for programs as one JSON object a line; always to `err`, so that `out` has results only.
 */
import type { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { GrpcClient } from '@freshet/kit/grpc/client.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { isServed, measure, type Progress, type ViewNames } from './measure.ts';
import { Rates } from './rates.ts';
import { progressJson, progressLines, summaryText } from './show.ts';

export interface ProgressOptions {
  readonly terminal: Terminal;
  readonly registry: GrpcClient<typeof RegistryService>;
  readonly generation: bigint;
  readonly timeoutMs: number;
  /** As JSON. */
  readonly json: boolean;
}

const POLL_MS = 250;
/** Where nobody watches, progress is told so often. */
const TELL_US = 2_000_000;

/** Resolves when every compute shard and serve node has the generation complete. Throws DEADLINE_EXCEEDED when late. */
export async function untilServed(options: ProgressOptions): Promise<void> {
  const { terminal, registry, generation, timeoutMs } = options;
  const endUs = terminal.clock.monotonicUs() + timeoutMs * 1000;
  const names = await viewNames(registry, terminal.signal);
  const rates = new Rates();
  const shown = new Shown(options);
  try {
    for (;;) {
      const progress = await measure(registry, generation, names, terminal.signal);
      if (isServed(progress)) {
        shown.clear();
        return;
      }
      const nowUs = terminal.clock.monotonicUs();
      rates.add(nowUs, progress.builds, progress.sources);
      shown.show(progress, rates, nowUs);
      if (nowUs > endUs) throw late(generation, progress);
      await terminal.clock.sleep(POLL_MS, terminal.signal);
    }
  } finally {
    shown.leave();
  }
}

async function viewNames(registry: GrpcClient<typeof RegistryService>, signal: AbortSignal): Promise<ViewNames> {
  const { resolved } = await registry.getDefinitions({}, { signal });
  return new Map((resolved?.views ?? []).map(({ viewId, name }) => [toHex(viewId), name]));
}

function late(generation: bigint, progress: Progress): FreshetError {
  const message = `generation ${generation} is in force but not served everywhere yet: ${summaryText(progress)}`;
  return new FreshetError('DEADLINE_EXCEEDED', message, {
    remedy: "it goes on by itself; 'freshet status' shows what it waits for",
  });
}

/** What was written last, so that it can be written over, and is not written again. */
class Shown {
  readonly #options: ProgressOptions;
  #text = '';
  #toldUs: number | undefined;
  /** Lines on the terminal above the cursor. */
  #lines = 0;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  show(progress: Progress, rates: Rates, nowUs: number): void {
    const { terminal, generation, json } = this.#options;
    const lines = json
      ? [JSON.stringify({ progress: progressJson(generation, progress, rates) })]
      : progressLines(progress, rates);
    const text = `${lines.join('\n')}\n`;
    if (text === this.#text) return;
    if (terminal.interactive && !json) {
      this.clear();
      // A line that wraps would be two, and one of them would stay.
      const width = (terminal.columns?.() ?? 80) - 1;
      for (const line of lines) terminal.err(`${paint(terminal, 'dim', line.slice(0, width))}\n`);
      this.#lines = lines.length;
    } else {
      if (this.#toldUs !== undefined && nowUs - this.#toldUs < TELL_US) return;
      this.#toldUs = nowUs;
      terminal.err(text);
    }
    this.#text = text;
  }

  /** Takes what is on the terminal away. */
  clear(): void {
    if (this.#lines > 0) this.#options.terminal.err(`\u001b[${this.#lines}A\u001b[J`);
    this.#lines = 0;
  }

  /** What is there stays there. */
  leave(): void {
    this.#lines = 0;
  }
}
