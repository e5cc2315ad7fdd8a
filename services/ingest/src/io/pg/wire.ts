/**
 * The frontend/backend protocol, version 3: messages out, and messages cut from the bytes that come in.
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
import { FreshetError } from '@freshet/kit/errors.ts';

/** Larger messages than Postgres itself can make are no messages. */
const MESSAGE_BYTES_MAX = 0x4000_0000 + 1024;
const PROTOCOL_VERSION = 196_608;
const SSL_REQUEST = 80_877_103;

/** A message from the server; the body is a view of received bytes, valid until the next batch is asked for. */
export interface BackendMessage {
  /** The type's character, as its code. */
  readonly type: number;
  readonly body: Buffer;
}

export const Backend = {
  authentication: 0x52, // R
  parameterStatus: 0x53, // S
  backendKeyData: 0x4b, // K
  readyForQuery: 0x5a, // Z
  rowDescription: 0x54, // T
  dataRow: 0x44, // D
  commandComplete: 0x43, // C
  emptyQuery: 0x49, // I
  error: 0x45, // E
  notice: 0x4e, // N
  notification: 0x41, // A
  copyIn: 0x47, // G
  copyOut: 0x48, // H
  copyBoth: 0x57, // W
  copyData: 0x64, // d
  copyDone: 0x63, // c
  negotiateVersion: 0x76, // v
} as const;

export function sslRequest(): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeInt32BE(8, 0);
  bytes.writeInt32BE(SSL_REQUEST, 4);
  return bytes;
}

export function startupMessage(parameters: Readonly<Record<string, string>>): Buffer {
  const text = Object.entries(parameters)
    .map(([name, value]) => `${name}\0${value}\0`)
    .join('');
  const body = Buffer.from(`${text}\0`, 'utf8');
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + body.length, 0);
  head.writeInt32BE(PROTOCOL_VERSION, 4);
  return Buffer.concat([head, body]);
}

/** Any message with a type. */
export function frontendMessage(type: string, body: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.allocUnsafe(5 + body.length);
  bytes.write(type, 0, 'latin1');
  bytes.writeInt32BE(4 + body.length, 1);
  body.copy(bytes, 5);
  return bytes;
}

export function cString(text: string): Buffer {
  if (text.includes('\0')) throw new FreshetError('INVALID_REQUEST', 'a text for the database contains a zero byte');
  return Buffer.from(`${text}\0`, 'utf8');
}

/** Cuts bytes into messages; what is not whole yet waits. Never holds more than one unfinished message. */
export class MessageSplitter {
  #chunks: Buffer[] = [];
  #length = 0;
  /** How many bytes are needed before the first message is whole; until then pieces are only collected. */
  #need = 5;

  push(chunk: Buffer): BackendMessage[] {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length < this.#need) return [];
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#length);
    const messages: BackendMessage[] = [];
    let at = 0;
    this.#need = 5;
    while (bytes.length - at >= 5) {
      const length = bytes.readInt32BE(at + 1);
      if (length < 4 || length > MESSAGE_BYTES_MAX) {
        throw new FreshetError('SOURCE_UNREACHABLE', 'what answers does not speak the Postgres protocol', {
          remedy: 'Check host and port of the database URL.',
        });
      }
      if (bytes.length - at < 1 + length) {
        this.#need = 1 + length;
        break;
      }
      messages.push({ type: bytes[at] as number, body: bytes.subarray(at + 5, at + 1 + length) });
      at += 1 + length;
    }
    const rest = bytes.subarray(at);
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#length = rest.length;
    return messages;
  }
}

/** The fields of an error or a notice by their one-letter codes. */
export function parseErrorFields(body: Buffer): Map<string, string> {
  const fields = new Map<string, string>();
  let at = 0;
  while (at < body.length && body[at] !== 0) {
    const end = body.indexOf(0, at + 1);
    if (end < 0) break;
    fields.set(String.fromCharCode(body[at] as number), body.toString('utf8', at + 1, end));
    at = end + 1;
  }
  return fields;
}

/** The names in a row description. */
export function columnNames(body: Buffer): string[] {
  const names: string[] = [];
  let at = 2;
  for (let i = body.readUInt16BE(0); i > 0; i--) {
    const end = body.indexOf(0, at);
    names.push(body.toString('utf8', at, end));
    at = end + 19;
  }
  return names;
}

/** The texts of a row; null for NULL. */
export function dataRow(body: Buffer): (string | null)[] {
  const values: (string | null)[] = [];
  let at = 2;
  for (let i = body.readUInt16BE(0); i > 0; i--) {
    const length = body.readInt32BE(at);
    at += 4;
    values.push(length < 0 ? null : body.toString('utf8', at, at + length));
    if (length > 0) at += length;
  }
  return values;
}
