/**
 * Array literals as Postgres writes them: {1,NULL,"with \"quotes\""}, with an optional prefix of bounds: [0:1]={a,b}.
 * One dimension only. Pure.
 */
import { ValueRefused } from './value-refused.ts';

/** The elements' texts; null for NULL. Throws ValueRefused for nested arrays and for text that is no array. */
export function parseArrayText(text: string): (string | null)[] {
  let at = 0;
  if (text.startsWith('[')) at = text.indexOf('=') + 1;
  if (text[at] !== '{') throw notAnArray(text);
  at += 1;
  const elements: (string | null)[] = [];
  if (text[at] === '}') return finish(text, at, elements);
  for (;;) {
    if (text[at] === '{') throw new ValueRefused('arrays of more than one dimension are not supported');
    const quoted = text[at] === '"';
    const [element, next] = quoted ? quotedElement(text, at + 1) : plainElement(text, at);
    elements.push(!quoted && element === 'NULL' ? null : element);
    if (text[next] === '}') return finish(text, next, elements);
    if (text[next] !== ',') throw notAnArray(text);
    at = next + 1;
  }
}

function quotedElement(text: string, start: number): [string, number] {
  let element = '';
  for (let at = start; at < text.length; at++) {
    const char = text[at];
    if (char === '"') return [element, at + 1];
    if (char === '\\') at += 1;
    element += text[at] ?? '';
  }
  throw notAnArray(text);
}

function plainElement(text: string, start: number): [string, number] {
  let end = start;
  while (end < text.length && text[end] !== ',' && text[end] !== '}') end += 1;
  if (end === start) throw notAnArray(text);
  return [text.slice(start, end), end];
}

function finish(text: string, at: number, elements: (string | null)[]): (string | null)[] {
  if (at !== text.length - 1) throw notAnArray(text);
  return elements;
}

function notAnArray(text: string): ValueRefused {
  return new ValueRefused(`"${text.slice(0, 40)}" is not an array`);
}
