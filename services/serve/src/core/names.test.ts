/**
 * Goal: a text found by its bytes is the text of those bytes, however many others were asked for.
 * Method: random texts, many more than there is room for, each asked for again and again.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Names } from './names.ts';

describe('Names', () => {
  it('R4: answers the text of the bytes, also for more texts than it remembers', () => {
    const names = new Names();
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme', maxLength: 80 }), { maxLength: 50 }), (texts) => {
        for (const text of [...texts, ...texts]) {
          const bytes = Buffer.from(`(${text})`, 'utf8');
          expect(names.text(bytes, 1, bytes.length - 1)).toBe(text);
        }
      }),
    );
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 5000; i++) expect(names.text(Buffer.from(`n${i}`), 0, `n${i}`.length)).toBe(`n${i}`);
    }
  });

  it('does not keep the request that brought a text', () => {
    const names = new Names();
    const request = Buffer.from('stats');
    expect(names.text(request, 0, 5)).toBe('stats');
    request.write('other');
    expect(names.text(request, 0, 5)).toBe('other');
    expect(names.text(Buffer.from('stats'), 0, 5)).toBe('stats');
  });
});
