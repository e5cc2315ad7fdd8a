/** / and /v1/metadata: that there is a registry, and which. */
import { VERSION } from '@freshet/kit/version.ts';
import type { Route } from './router.ts';

export const SERVER_ROUTES: readonly Route[] = [
  { method: 'GET', path: '/', answer: () => ({ json: {} }) },
  { method: 'POST', path: '/', answer: ({ body }) => ({ json: body }) },
  {
    method: 'GET',
    path: '/v1/metadata/id',
    answer: () => ({
      json: { id: '', scope: { path: [], clusters: { 'schema-registry-cluster': 'freshet' } } },
    }),
  },
  { method: 'GET', path: '/v1/metadata/version', answer: () => ({ json: { version: VERSION, commitId: '' } }) },
  {
    method: 'GET',
    path: '/v1/metadata/deployment',
    isOffered: (profile) => profile.deletesContexts,
    answer: () => ({ json: { properties: {} } }),
  },
];
