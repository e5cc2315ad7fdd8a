/** The registry's options. */
import { type ConfigOf, parsers } from '@freshet/kit/config.ts';

export const OPTIONS = {
  listen: {
    description: 'where gRPC is served; port 0 takes any free one',
    form: 'host:port',
    parse: parsers.address,
    fallback: '127.0.0.1:7404',
  },
  httpListen: {
    description: 'where Connect and JSON over HTTP are served',
    form: 'host:port',
    parse: parsers.address,
    fallback: '127.0.0.1:7414',
  },
  dataDir: {
    description: 'where the definitions are kept',
    form: 'directory',
    parse: parsers.text,
  },
  logLevel: {
    description: 'the least level of log lines that are written: debug, info, warn or error',
    form: 'level',
    parse: parsers.oneOf('debug', 'info', 'warn', 'error'),
    fallback: 'info',
  },
} as const;

export type RegistryConfig = ConfigOf<typeof OPTIONS>;
