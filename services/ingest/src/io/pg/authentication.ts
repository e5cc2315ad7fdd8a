/** How a connection proves who it is: the server's demands and our answers. */
import { createHash } from 'node:crypto';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { ConnectionTarget } from './connection-url.ts';
import { ScramClient } from './scram.ts';
import { cString } from './wire.ts';

export class Authentication {
  readonly #target: ConnectionTarget;
  #scram: ScramClient | undefined;

  constructor(target: ConnectionTarget) {
    this.#target = target;
  }

  /** The answer to an authentication message; undefined when none is due. */
  async answer(body: Buffer): Promise<Buffer | undefined> {
    const method = body.readInt32BE(0);
    const data = body.toString('utf8', 4);
    switch (method) {
      case 0: // accepted
        return undefined;
      case 3:
        return cString(this.#target.password);
      case 5:
        return cString(md5Answer(this.#target, body.subarray(4, 8)));
      case 10:
        if (!data.split('\0').includes('SCRAM-SHA-256')) throw unsupported(data);
        this.#scram = new ScramClient(this.#target.password);
        return saslInitial(this.#scram.first());
      case 11:
        return Buffer.from(await must(this.#scram, 'SASL out of order').final(data), 'utf8');
      case 12:
        must(this.#scram, 'SASL out of order').verify(data);
        return undefined;
      default:
        throw unsupported(`method ${method}`);
    }
  }
}

function saslInitial(text: string): Buffer {
  const first = Buffer.from(text, 'utf8');
  const length = Buffer.alloc(4);
  length.writeInt32BE(first.length, 0);
  return Buffer.concat([cString('SCRAM-SHA-256'), length, first]);
}

function md5Answer({ password, user }: ConnectionTarget, salt: Buffer): string {
  const inner = createHash('md5')
    .update(password + user)
    .digest('hex');
  return `md5${createHash('md5').update(inner).update(salt).digest('hex')}`;
}

function unsupported(what: string): FreshetError {
  const named = what.replaceAll('\0', ' ').trim();
  return new FreshetError('SOURCE_NOT_READY', `the server wants an authentication that is not supported (${named})`, {
    remedy: 'Let pg_hba.conf use scram-sha-256 for this user.',
  });
}
