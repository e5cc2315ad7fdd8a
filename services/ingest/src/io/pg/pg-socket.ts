/** Opens a socket to Postgres, with TLS where the URL asks for it or the server offers it. */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type ConnectionTarget, describeTarget } from './connection-url.ts';
import { sslRequest } from './wire.ts';

/** A connected socket. Throws SOURCE_UNREACHABLE when nobody answers before the signal, SOURCE_NOT_READY without TLS. */
export async function openSocket(target: ConnectionTarget, signal: AbortSignal): Promise<Socket> {
  const place = describeTarget(target);
  const local = target.host.startsWith('/');
  const socket = local
    ? connectTcp(`${target.host}/.s.PGSQL.${target.port}`)
    : connectTcp({
        host: target.host,
        port: target.port,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: 30_000,
      });
  await settled(socket, 'connect', place, signal);
  if (local || target.sslMode === 'disable') return socket;
  socket.write(sslRequest());
  await settled(socket, 'readable', place, signal);
  // Exactly one byte may be there: more would be plain text that somebody slipped in before the handshake.
  const answer = (socket.read() as Buffer | null)?.toString('latin1');
  if (answer === 'N' && target.sslMode === 'prefer') return socket;
  if (answer !== 'S') {
    socket.destroy();
    throw new FreshetError('SOURCE_NOT_READY', 'the database server does not offer TLS', {
      remedy: 'Switch TLS on at the server (ssl = on), or write sslmode=disable into the database URL.',
      place,
    });
  }
  const verify = target.sslMode === 'verify-ca' || target.sslMode === 'verify-full';
  const secure = connectTls({
    socket,
    // The name that the certificate must have; without it Node would take "localhost" for an address.
    host: target.host,
    rejectUnauthorized: verify,
    ...(isIP(target.host) === 0 ? { servername: target.host } : {}),
    ...(target.certificateAuthorities === undefined ? {} : { ca: target.certificateAuthorities }),
    ...(target.sslMode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
  });
  await settled(secure, 'secureConnect', place, signal);
  return secure;
}

export function unreachable(place: string, cause: Error): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', `the database does not answer: ${cause.message}`, {
    remedy: 'Check that it runs and that host and port of its URL are right.',
    place,
    cause,
  });
}

/** Resolves at the event; rejects at an error, the end or the signal, and the socket is gone then. */
function settled(socket: Socket, event: string, place: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error): void => {
      socket.off(event, onEvent).off('error', onError).off('close', onClose);
      signal.removeEventListener('abort', onAbort);
      if (error === undefined) {
        resolve();
        return;
      }
      socket.on('error', () => {});
      socket.destroy();
      reject(unreachable(place, error));
    };
    const onEvent = (): void => done();
    const onError = (error: Error): void => done(error);
    const onClose = (): void => done(new Error('the server closed the connection'));
    const onAbort = (): void => done(signal.reason instanceof Error ? signal.reason : new Error('given up'));
    socket.once(event, onEvent).once('error', onError).once('close', onClose);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}
