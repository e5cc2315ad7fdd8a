/**
 * SCRAM-SHA-256 (RFC 5802, 7677), the client's side, without channel binding. Proves the password without sending it,
 * and checks that the server knows it too.
 */
import { createHash, createHmac, pbkdf2 as pbkdf2Callback, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { FreshetError } from '@freshet/kit/errors.ts';

const pbkdf2 = promisify(pbkdf2Callback);
/** A server that asks for more wants to burn our time. */
const ITERATIONS_MAX = 10_000_000;

export class ScramClient {
  readonly #password: string;
  readonly #nonce: string;
  readonly #firstBare: string;
  #serverSignature: Buffer | undefined;

  constructor(password: string, nonce: string = randomBytes(18).toString('base64')) {
    // What is ASCII, as nearly every password is, SASLprep leaves alone; for the rest NFKC is its main part.
    this.#password = password.normalize('NFKC');
    this.#nonce = nonce;
    // Postgres takes the user's name from the start-up packet and ignores this one.
    this.#firstBare = `n=,r=${nonce}`;
  }

  /** The first message. */
  first(): string {
    return `n,,${this.#firstBare}`;
  }

  /** The answer to the server's first message. */
  async final(serverFirst: string): Promise<string> {
    const fields = parseFields(serverFirst);
    const nonce = fields.get('r') ?? '';
    const salt = Buffer.from(fields.get('s') ?? '', 'base64');
    const iterations = Number(fields.get('i'));
    if (!nonce.startsWith(this.#nonce) || nonce === this.#nonce) throw refused('it did not continue our nonce');
    if (!(iterations >= 1 && iterations <= ITERATIONS_MAX) || salt.length === 0)
      throw refused('its salt or iterations are not usable');
    const salted = await pbkdf2(this.#password, salt, iterations, 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const withoutProof = `c=biws,r=${nonce}`;
    const message = `${this.#firstBare},${serverFirst},${withoutProof}`;
    const signature = hmac(createHash('sha256').update(clientKey).digest(), message);
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0)));
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), message);
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Checks the server's last message. */
  verify(serverFinal: string): void {
    const given = Buffer.from(parseFields(serverFinal).get('v') ?? '', 'base64');
    const expected = this.#serverSignature;
    if (expected === undefined || given.length !== expected.length || !timingSafeEqual(given, expected)) {
      throw refused('it does not know the password');
    }
  }
}

function parseFields(text: string): Map<string, string> {
  return new Map(text.split(',').map((field) => [field.slice(0, 1), field.slice(2)]));
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function refused(reason: string): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', `the database server failed to authenticate itself: ${reason}`);
}
