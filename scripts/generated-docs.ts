/** The pages of docs/ that are made from tables in the code, so that they cannot say anything else. */
import { ERROR_CODES } from '@freshet/kit/error-codes.ts';

export interface GeneratedDoc {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
}

export function generatedDocs(): GeneratedDoc[] {
  return [{ path: 'docs/errors.md', text: errorsPage() }];
}

function errorsPage(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, info]) => `| \`${code}\` | ${info.grpc} | ${info.retryable ? 'yes' : 'no'} | ${info.about} |`,
  );
  return [
    '# Errors',
    '',
    '<!-- Generated from packages/kit/src/error-codes.ts by npm run generate. -->',
    '',
    'Every error that crosses the wire carries a stable code, a message for people, and where there is something to do a',
    'remedy and a place. It travels as a `freshet.type.v1.ErrorDetail` in the gRPC trailer `freshet-error-bin`, and as a',
    'Connect error detail on the HTTP ports.',
    '',
    '| Code | gRPC status | Try again unchanged? | What it means |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
