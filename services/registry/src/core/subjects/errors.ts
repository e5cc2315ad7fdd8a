/**
 * What the Schema Registry API answers when it says no: a code and a text that clients match on.
 *
 * Owns every code and its exact text, full stops and missing blanks included (docs/schema-registry.md). Does not own how
 * it becomes HTTP: the status is the first three digits of the code (rest/).
 */

/** A refusal of the API. Not a FreshetError: its codes and texts are Confluent's, and clients compare them. */
export class SchemaApiError extends Error {
  override readonly name = 'SchemaApiError';
  readonly code: number;

  constructor(code: number, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
  }

  /** The HTTP status: the first three digits. */
  get status(): number {
    return Number(String(this.code).slice(0, 3));
  }
}

/** The code of an incompatible schema; releases differ in how they say it, see rest/profiles.ts. */
export const INCOMPATIBLE = 40901;

export const refuse = {
  badRequest: (why: string) => new SchemaApiError(400, why),
  subjectNotFound: (subject: string) => new SchemaApiError(40401, `Subject '${subject}' not found.`),
  versionNotFound: (version: number) => new SchemaApiError(40402, `Version ${version} not found.`),
  schemaNotFound: (id?: number | string) =>
    new SchemaApiError(40403, id === undefined ? 'Schema not found' : `Schema ${id} not found`),
  // The missing blank after the full stop is Confluent's; clients compare the text.
  subjectSoftDeleted: (subject: string) =>
    new SchemaApiError(40404, `Subject '${subject}' was soft deleted.Set permanent=true to delete permanently`),
  subjectNotSoftDeleted: (subject: string) =>
    new SchemaApiError(40405, `Subject '${subject}' was not deleted first before being permanently deleted`),
  versionSoftDeleted: (subject: string, version: number) =>
    new SchemaApiError(
      40406,
      `Subject '${subject}' Version ${version} was soft deleted.Set permanent=true to delete permanently`,
    ),
  versionNotSoftDeleted: (subject: string, version: number) =>
    new SchemaApiError(
      40407,
      `Subject '${subject}' Version ${version} was not deleted first before being permanently deleted`,
    ),
  noSubjectConfig: (subject: string) =>
    new SchemaApiError(40408, `Subject '${subject}' does not have subject-level compatibility configured`),
  noSubjectMode: (subject: string) =>
    new SchemaApiError(40409, `Subject '${subject}' does not have subject-level mode configured`),
  incompatible: (subject: string, details: readonly string[]) =>
    new SchemaApiError(
      INCOMPATIBLE,
      `Schema being registered is incompatible with an earlier schema for subject "${subject}", details: [${details.join(', ')}]`,
    ),
  invalidSchema: (why: string) => new SchemaApiError(42201, why),
  invalidVersion: (text: string) =>
    new SchemaApiError(
      42202,
      `The specified version '${text}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string "latest"`,
    ),
  invalidLevel: () =>
    new SchemaApiError(
      42203,
      'Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive',
    ),
  // The code with which Confluent's registry refuses LOGICAL beside a level that it cannot be had with.
  noLogicalPolicy: () =>
    new SchemaApiError(
      42203,
      'compatibilityPolicy LOGICAL is not offered: it also judges by the types of Flink and Iceberg, which this registry does not derive; set STRICT or LENIENT',
    ),
  invalidMode: (names: readonly string[]) =>
    new SchemaApiError(42204, `Invalid mode. Valid values are ${names.join(', ').toLowerCase()}`),
  notPermitted: (why: string) => new SchemaApiError(42205, why),
  readOnly: () => new SchemaApiError(42205, 'The registry is in read-only mode'),
  referenced: (subject: string, version: number) =>
    new SchemaApiError(
      42206,
      `One or more references exist to the schema {magic=1,keytype=SCHEMA,subject=${subject},version=${version}}.`,
    ),
  idDoesNotMatch: (id: number, given: number) =>
    new SchemaApiError(42207, `Schema already registered with id ${id} instead of input id ${given}`),
  // "is not a valid." is Confluent's text.
  invalidSubject: (subject: string) => new SchemaApiError(42208, `The specified subject '${subject}' is not a valid.`),
  tooLarge: (why: string) => new SchemaApiError(42209, why),
  invalidRuleSet: (why: string) => new SchemaApiError(42210, why),
  contextNotEmpty: (context: string) => new SchemaApiError(42211, `The specified context '${context}' is not empty.`),
  store: (cause: unknown) =>
    new SchemaApiError(
      50001,
      `Error in the backend data store: ${cause instanceof Error ? cause.message : 'unknown'}`,
      {
        cause,
      },
    ),
} as const;
