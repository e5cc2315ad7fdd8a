/** Tables for people: columns parted by two spaces, a dim header, no frames, so that a line can be copied or cut. */
import Table from 'cli-table3';
import { paint, type Terminal } from './terminal.ts';

const NO_FRAME = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

export interface TableColumn {
  readonly head: string;
  readonly align?: 'left' | 'right';
}

/** The table as text with a newline at its end; lines carry no trailing blanks. */
export function table(
  terminal: Pick<Terminal, 'colours'>,
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
): string {
  const grid = new Table({
    chars: NO_FRAME,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: columns.map((column) => column.align ?? 'left'),
  });
  grid.push(
    columns.map((column) => paint(terminal, 'dim', column.head.toUpperCase())),
    ...rows.map((row) => [...row]),
  );
  return `${grid
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')}\n`;
}
