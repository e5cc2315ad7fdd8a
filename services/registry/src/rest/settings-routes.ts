/** /config, /mode and /contexts: what holds for a subject, a context or all of them. */
import { refuse } from '../core/subjects/errors.ts';
import { parseContext, scopeKey } from '../core/subjects/names.ts';
import { DEFAULT_LEVEL, readConfigUpdate, readMode } from '../core/subjects/settings.ts';
import { flag, page } from './request.ts';
import { type Answer, type Call, type Route, scopeOf } from './router.ts';

const CONTEXTS_MAX = 20_000;

function getConfig(call: Call): Answer {
  const scope = scopeOf(call);
  const { index } = call.registry;
  if (call.params['subject'] === undefined || flag(call.query, 'defaultToGlobal'))
    return { json: { compatibilityLevel: DEFAULT_LEVEL, ...index.configInScope(scope) } };
  const config = index.configOf(scopeKey(scope));
  if (config === undefined) throw refuse.noSubjectConfig(scopeKey(scope) || call.params['subject']);
  return { json: config };
}

function getMode(call: Call): Answer {
  const scope = scopeOf(call);
  const { index } = call.registry;
  if (call.registry.readOnly) return { json: { mode: 'READONLY_OVERRIDE' } };
  if (call.params['subject'] === undefined || flag(call.query, 'defaultToGlobal'))
    return { json: { mode: index.modeInScope(scope) } };
  const mode = index.modeOf(scopeKey(scope));
  if (mode === undefined) throw refuse.noSubjectMode(scopeKey(scope) || call.params['subject']);
  return { json: { mode } };
}

async function putConfig(call: Call): Promise<Answer> {
  const update = readConfigUpdate(call.body);
  await call.registry.updateConfig(scopeOf(call), update);
  return { json: update };
}

async function deleteConfig(call: Call): Promise<Answer> {
  const config = await call.registry.deleteConfig(scopeOf(call));
  return { json: { compatibilityLevel: DEFAULT_LEVEL, ...config } };
}

async function putMode(call: Call): Promise<Answer> {
  const mode = readMode(call.body['mode'], call.profile.modes);
  return { json: { mode: await call.registry.setMode(scopeOf(call), mode, flag(call.query, 'force')) } };
}

async function deleteMode(call: Call): Promise<Answer> {
  const recursive = call.profile.deletesContexts && flag(call.query, 'recursive');
  return { json: { mode: await call.registry.deleteMode(scopeOf(call), recursive) } };
}

function listContexts({ registry, query }: Call): Answer {
  const prefix = query.get('contextPrefix') ?? '';
  return {
    json: page(
      registry.index.contexts.filter((name) => name.startsWith(prefix)),
      query,
      CONTEXTS_MAX,
    ),
  };
}

/** The same for all, and for one subject. */
function scoped(path: string, method: Route['method'], answer: Route['answer']): Route[] {
  return [path, `${path}/{subject}`].map((each) => ({ method, path: each, answer }));
}

export const SETTINGS_ROUTES: readonly Route[] = [
  ...scoped('/config', 'GET', getConfig),
  ...scoped('/config', 'PUT', putConfig),
  ...scoped('/config', 'DELETE', deleteConfig),
  ...scoped('/mode', 'GET', getMode),
  ...scoped('/mode', 'PUT', putMode),
  ...scoped('/mode', 'DELETE', deleteMode),
  { method: 'GET', path: '/contexts', answer: listContexts },
  {
    method: 'DELETE',
    path: '/contexts/{context}',
    isOffered: (profile) => profile.deletesContexts,
    answer: async ({ registry, params }) => {
      await registry.deleteContext(parseContext(params['context'] ?? ''));
      return undefined;
    },
  },
];
