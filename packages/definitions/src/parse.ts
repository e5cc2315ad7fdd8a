/**
 * Definitions from YAML files: the first half of the language, text to a checked Protobuf message.
 *
 * Owns which kinds of document there are. Does not own what needs a database to know: that is resolve.ts. Every
 * problem of every file is told at once, each with file, line, column and remedy.
 */
import { create } from '@bufbuild/protobuf';
import { type Definitions, DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { isScalar } from 'yaml';
import { checkNames } from './check-names.ts';
import { parseEntity } from './parse/parse-entity.ts';
import { parseService } from './parse/parse-service.ts';
import { parseSource } from './parse/parse-source.ts';
import { parseView } from './parse/parse-view.ts';
import { Problems } from './problems.ts';
import { checkMessage } from './validate.ts';
import { Fields } from './yaml/fields.ts';
import { type DefinitionFile, readYamlFile } from './yaml/yaml-file.ts';

/** The kinds of document. */
export const KINDS = ['Entity', 'Source', 'FeatureView', 'FeatureService'] as const;

/**
 * The definitions that the files hold, in the files' order. Throws INVALID_DEFINITION with everything that is wrong in
 * `also`. Names that other definitions must have are not looked up here: a file may be one of several.
 */
export function parseDefinitions(files: readonly DefinitionFile[]): Definitions {
  const problems = new Problems();
  const definitions = create(DefinitionsSchema);
  for (const file of files) {
    for (const document of readYamlFile(file, problems)) {
      const fields = Fields.ofDocument(document, problems);
      if (fields !== undefined) parseDocument(fields, definitions, problems);
    }
  }
  checkNames(definitions, problems);
  // What has no problem of its own is held to the message's rules too, which the builder and the registry share.
  if (problems.count === 0) checkMessage(definitions, problems);
  problems.throwIfAny();
  return definitions;
}

function parseDocument(fields: Fields, definitions: Definitions, problems: Problems): void {
  const field = fields.get('kind');
  const kind = isScalar(field?.node) && typeof field.node.value === 'string' ? field.node.value : '';
  switch (kind) {
    case 'Entity':
      definitions.entities.push(parseEntity(fields));
      return;
    case 'Source':
      definitions.sources.push(parseSource(fields));
      return;
    case 'FeatureView':
      definitions.views.push(parseView(fields));
      return;
    case 'FeatureService':
      definitions.services.push(parseService(fields));
      return;
    default: {
      const known = `A document is one of ${KINDS.join(', ')}: write for example \`kind: Entity\`.`;
      const meant = kind === '' ? undefined : closest(kind, KINDS);
      const message = kind === '' ? 'The document does not say what it defines.' : `There is no kind "${kind}".`;
      problems.add(
        field?.location ?? fields.location,
        message,
        meant === undefined ? known : `Did you mean "${meant}"? ${known}`,
      );
    }
  }
}
