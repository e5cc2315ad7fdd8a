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
    description: 'where Connect, JSON over HTTP and the Schema Registry API are served, and GET /metrics',
    form: 'host:port',
    parse: parsers.address,
    fallback: '127.0.0.1:7414',
  },
  dataDir: {
    description: 'where the definitions and the schemas are kept',
    form: 'directory',
    parse: parsers.text,
  },
  schemasProfile: {
    description: 'which release the Schema Registry API answers as: confluent-7, confluent-8.1 or latest',
    form: 'profile',
    parse: parsers.oneOf('confluent-7', 'confluent-8.1', 'latest'),
    fallback: 'latest',
  },
  schemasUsersFile: {
    description: 'a file of name:password lines; the Schema Registry API then asks for one (basic)',
    form: 'file',
    parse: parsers.text,
    fallback: null,
  },
  schemasTokensFile: {
    description: 'a file of tokens, one a line; the Schema Registry API then takes them (bearer)',
    form: 'file',
    parse: parsers.text,
    fallback: null,
  },
  schemasReadOnly: {
    description: 'whether the Schema Registry API refuses every change: yes or no',
    form: 'yes|no',
    parse: parsers.oneOf('yes', 'no'),
    fallback: 'no',
  },
  logLevel: {
    description: 'the least level of log lines that are written: debug, info, warn or error',
    form: 'level',
    parse: parsers.oneOf('debug', 'info', 'warn', 'error'),
    fallback: 'info',
  },
} as const;

export type RegistryConfig = ConfigOf<typeof OPTIONS>;
