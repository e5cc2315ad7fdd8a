/**
 * Where and as whom to connect, from a URL as libpq takes it:
 *
 *     postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/etc/ca.pem
 *
 * Owns reading and judging the URL. The password never appears in an error or a log line.
 */
import { readFileSync } from 'node:fs';
import { FreshetError } from '@freshet/kit/errors.ts';

export type SslMode = 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';

export interface ConnectionTarget {
  /** A host, or an absolute path of a directory with a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly sslMode: SslMode;
  /** The authorities to trust, in PEM; undefined: the system's. */
  readonly certificateAuthorities: string | undefined;
}

const PARAMETERS: readonly string[] = ['sslmode', 'sslrootcert', 'host', 'port', 'user', 'password'];
const SSL_MODES: readonly string[] = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'];

/** Reads the URL. Throws INVALID_CONFIG that says what is wrong with it, without showing it. */
export function parseConnectionUrl(text: string): ConnectionTarget {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw invalid('it is no URL');
  }
  if (url.protocol !== 'postgres:' && url.protocol !== 'postgresql:')
    throw invalid('it does not begin with postgres://');
  // Passed over, a parameter that is misspelt or that libpq knows would leave out what somebody relies on.
  const unknown = [...url.searchParams.keys()].find((name) => !PARAMETERS.includes(name));
  if (unknown !== undefined) throw invalid(`its parameter ${unknown} is not one of ${PARAMETERS.join(', ')}`);
  const user = decode(url.username) || url.searchParams.get('user') || '';
  if (user === '') throw invalid('it names no user');
  const rootCertificate = url.searchParams.get('sslrootcert');
  return {
    host:
      url.searchParams.get('host') ?? (url.hostname === '' ? 'localhost' : url.hostname.replace(/^\[(.*)\]$/, '$1')),
    port: readPort(url.searchParams.get('port') ?? (url.port === '' ? '5432' : url.port)),
    user,
    password: decode(url.password) || url.searchParams.get('password') || '',
    database: decode(url.pathname.replace(/^\//, '')) || user,
    sslMode: readSslMode(url.searchParams.get('sslmode'), rootCertificate),
    certificateAuthorities: readAuthorities(rootCertificate),
  };
}

/** "user@host:port/database", for people. */
export function describeTarget(target: ConnectionTarget): string {
  return `${target.user}@${target.host}:${target.port}/${target.database}`;
}

function readPort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw invalid('its port is not a number from 1 to 65535');
  return port;
}

/** As libpq has it: with an authority to check against, `require` checks; the system's are good for names only. */
function readSslMode(mode: string | null, rootCertificate: string | null): SslMode {
  const wanted = mode ?? (rootCertificate === 'system' ? 'verify-full' : 'prefer');
  if (!SSL_MODES.includes(wanted)) throw invalid(`sslmode is not one of ${SSL_MODES.join(', ')}`);
  if (rootCertificate === 'system' && wanted !== 'verify-full')
    throw invalid('sslrootcert=system needs sslmode=verify-full');
  return wanted === 'require' && rootCertificate !== null ? 'verify-ca' : (wanted as SslMode);
}

function readAuthorities(path: string | null): string | undefined {
  if (path === null || path === 'system') return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw invalid(`sslrootcert cannot be read: ${(cause as Error).message}`);
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid('a % in it is not followed by two hex digits');
  }
}

function invalid(reason: string): FreshetError {
  return new FreshetError('INVALID_CONFIG', `the database URL cannot be used: ${reason}`, {
    remedy: 'Write it as postgres://user:password@host:5432/database',
  });
}
