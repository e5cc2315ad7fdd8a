/** Whom a change touches, in words: behind a verdict, in an error, in a log line. Owns how many names are told. */
import type { Consumer } from './usage.ts';

/** The most names of one sort that are told. */
const NAMES_MAX = 8;

/** To be put behind a sentence: " (touches features a:x, a:y; services s; owners o)"; empty: nobody is named. */
export function touchedText(consumers: readonly Pick<Consumer, 'features' | 'services' | 'owners'>[]): string {
  const parts = (['features', 'services', 'owners'] as const).flatMap((what) => {
    const names = [...new Set(consumers.flatMap((consumer) => consumer[what]))].sort();
    if (names.length === 0) return [];
    const more = names.length > NAMES_MAX ? ` and ${names.length - NAMES_MAX} more` : '';
    return [`${what} ${names.slice(0, NAMES_MAX).join(', ')}${more}`];
  });
  return parts.length === 0 ? '' : ` (touches ${parts.join('; ')})`;
}
