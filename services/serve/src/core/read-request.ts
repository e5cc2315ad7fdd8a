/**
 * Reads a GetFeaturesRequest from its wire bytes. By hand, because a message object per call would cost more than the
 * whole read; read-request.test.ts holds it together with protobuf-es.
 *
 * Owns the wire format and its limits. Does not own what the names and keys mean (selection.ts, keys.ts).
 */
import { fromBinary } from '@bufbuild/protobuf';
import { RequestColumnSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { type Integer, WireReader } from '@freshet/replica/wire-reader.ts';
import { checkLimit, ENTITIES_MAX, FEATURES_MAX, REQUEST_BYTES_MAX, REQUEST_FIELDS_MAX } from './limits.ts';
import { Names } from './names.ts';
import type { SentColumn } from './request-data.ts';

/** One key column of a request: the member of its oneof that was set last, as Protobuf has it. */
export type KeyValues =
  | { readonly form: 'int64s'; readonly values: Integer[] }
  | { readonly form: 'strings'; readonly values: Buffer[] }
  | { readonly form: 'bytes'; readonly values: Buffer[] }
  | { readonly form: 'bools'; readonly values: boolean[] };

export interface RequestKeys {
  readonly name: string;
  readonly keys: KeyValues | undefined;
}

export interface ReadRequest {
  readonly service: string;
  readonly features: readonly string[];
  readonly keys: readonly RequestKeys[];
  readonly rowInfo: boolean;
  /** The request data, which few requests have, by column. */
  readonly data: readonly SentColumn[];
}

const NO_DATA: readonly SentColumn[] = [];

const names = new Names();

/** Throws INVALID_REQUEST when the bytes are no request, REQUEST_TOO_LARGE when they are over a limit. */
export function readRequest(bytes: Buffer): ReadRequest {
  const remedy = 'Ask for fewer entities or features at once.';
  checkLimit(bytes.length, REQUEST_BYTES_MAX, 'bytes', remedy);
  try {
    return readFields(new WireReader(bytes), bytes);
  } catch (error) {
    if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
    throw noRequest(error.message);
  }
}

function noRequest(why: string): FreshetError {
  return new FreshetError('INVALID_REQUEST', `the request is not a GetFeaturesRequest: ${why}`, {
    remedy: 'encode the request by proto/freshet/serve/v1/serve.proto',
  });
}

function readFields(reader: WireReader, bytes: Buffer): ReadRequest {
  let service = '';
  const features: string[] = [];
  const keys: RequestKeys[] = [];
  let rowInfo = false;
  let data: SentColumn[] | undefined;
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0a) service = readText(reader, bytes);
    else if (tag === 0x12) {
      features.push(readText(reader, bytes));
      checkLimit(
        features.length,
        FEATURES_MAX,
        'features',
        'Ask for fewer features at once, or for a feature service.',
      );
    } else if (tag === 0x1a) keys.push(readKeys(enter(reader), bytes));
    else if (tag === 0x20) rowInfo = reader.varint() !== 0;
    else if (tag === 0x2a) {
      data ??= [];
      data.push(readData(reader, bytes));
      checkLimit(data.length, REQUEST_FIELDS_MAX, 'columns of request data', 'Send the fields of the service only.');
    } else reader.skip(tag);
  }
  return { service, features, keys, rowInfo, data: data ?? NO_DATA };
}

/** By messages, whose cost is little beside what is computed from them. */
function readData(reader: WireReader, bytes: Buffer): SentColumn {
  const length = reader.length();
  const start = reader.position;
  reader.advance(length);
  try {
    const { name, values } = fromBinary(RequestColumnSchema, bytes.subarray(start, start + length));
    return { name, values };
  } catch (error) {
    throw noRequest(`request data that is no RequestColumn (${error instanceof Error ? error.message : 'damaged'})`);
  }
}

function readKeys(reader: WireReader, bytes: Buffer): RequestKeys {
  let name = '';
  let keys: KeyValues | undefined;
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0a) name = readText(reader, bytes);
    // A member that comes again goes on where it stopped; it may come as often as the request has bytes.
    else if (tag === 0x12)
      keys = { form: 'int64s', values: readInt64s(enter(reader), keys?.form === 'int64s' ? keys.values : []) };
    else if (tag === 0x1a)
      keys = { form: 'strings', values: readChunks(enter(reader), bytes, keys?.form === 'strings' ? keys.values : []) };
    else if (tag === 0x22)
      keys = { form: 'bytes', values: readChunks(enter(reader), bytes, keys?.form === 'bytes' ? keys.values : []) };
    else if (tag === 0x2a)
      keys = { form: 'bools', values: readBools(enter(reader), keys?.form === 'bools' ? keys.values : []) };
    else reader.skip(tag);
  }
  if (keys !== undefined) checkEntities(keys.values.length);
  return { name, keys };
}

function readInt64s(reader: WireReader, before: Integer[]): Integer[] {
  let values = before;
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x08) values.push(reader.int64());
    else if (tag === 0x0a) {
      const packed = readPackedInt64s(enter(reader));
      if (values.length === 0) values = packed;
      else values.push(...packed);
    } else reader.skip(tag);
    checkEntities(values.length);
  }
  return values;
}

/** The one list that nearly every request is made of: made at its full length, without growing. */
function readPackedInt64s(packed: WireReader): Integer[] {
  const count = packed.countVarints();
  checkEntities(count);
  const values = packed.int64s(count);
  // Bytes after the last whole integer are damage, and are told so.
  if (packed.more) packed.int64();
  return values;
}

function readBools(reader: WireReader, values: boolean[]): boolean[] {
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x08) values.push(reader.int64() !== 0);
    else if (tag === 0x0a) {
      const packed = enter(reader);
      while (packed.more) {
        values.push(packed.int64() !== 0);
        checkEntities(values.length);
      }
    } else reader.skip(tag);
    checkEntities(values.length);
  }
  return values;
}

function readChunks(reader: WireReader, bytes: Buffer, values: Buffer[]): Buffer[] {
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0a) {
      const length = reader.length();
      values.push(bytes.subarray(reader.position, reader.position + length));
      reader.advance(length);
    } else reader.skip(tag);
    checkEntities(values.length);
  }
  return values;
}

function checkEntities(count: number): void {
  checkLimit(count, ENTITIES_MAX, 'entities', 'Ask for the entities in several calls.');
}

function readText(reader: WireReader, bytes: Buffer): string {
  const length = reader.length();
  const start = reader.position;
  reader.advance(length);
  return names.text(bytes, start, start + length);
}

/** A reader of the message that lies at the reader's position; the reader goes on after it. */
function enter(reader: WireReader): WireReader {
  const length = reader.length();
  const inner = new WireReader(reader.buffer, reader.position, reader.position + length);
  reader.advance(length);
  return inner;
}
