/**
 * For tests: two clients for JavaScript, with the part of their types that tests use. Their own types need packages that
 * are not here and break under this compiler's settings, so they are kept out of the program.
 */
interface Info {
  readonly schema: string;
  readonly schemaType?: string;
}

interface Metadata extends Info {
  readonly id?: number;
  readonly guid?: string;
  readonly version?: number;
}

export interface Client {
  register(subject: string, info: Info): Promise<number>;
  registerFullResponse(subject: string, info: Info): Promise<Metadata>;
  getId(subject: string, info: Info): Promise<number>;
  getBySubjectAndId(subject: string, id: number, format?: string): Promise<Info>;
  getByGuid(guid: string): Promise<Info>;
  getLatestSchemaMetadata(subject: string): Promise<Metadata>;
  getAllSubjects(): Promise<string[]>;
  getAllVersions(subject: string): Promise<number[]>;
  testSubjectCompatibility(subject: string, info: Info): Promise<boolean>;
  updateCompatibility(subject: string, level: string): Promise<string>;
  getCompatibility(subject: string): Promise<string>;
  getDefaultCompatibility(): Promise<string>;
  deleteSubject(subject: string, permanent: boolean): Promise<number[]>;
}

interface Serializer {
  serialize(topic: string, value: unknown): Promise<Buffer>;
}
interface Deserializer {
  deserialize(topic: string, bytes: Buffer): Promise<unknown>;
}
type Serde<T> = new (client: Client, type: 'VALUE', options: Readonly<Record<string, unknown>>) => T;

export interface ConfluentClient {
  readonly SchemaRegistryClient: { newClient(config: Readonly<Record<string, unknown>>): Client };
  readonly AvroSerializer: Serde<Serializer>;
  readonly AvroDeserializer: Serde<Deserializer>;
  readonly JsonSerializer: Serde<Serializer>;
  readonly JsonDeserializer: Serde<Deserializer>;
  readonly ProtobufSerializer: Serde<Serializer>;
  readonly ProtobufDeserializer: Serde<Deserializer>;
}

export async function confluentClient(): Promise<ConfluentClient> {
  const name: string = '@confluentinc/schemaregistry';
  return (await import(name)) as ConfluentClient;
}

export interface KafkajsClient {
  register(schema: { type: 'AVRO' | 'JSON'; schema: string }, options?: { subject: string }): Promise<{ id: number }>;
  encode(id: number, value: unknown): Promise<Buffer>;
  decode(bytes: Buffer): Promise<unknown>;
  getLatestSchemaId(subject: string): Promise<number>;
  getRegistryId(subject: string, version: number): Promise<number>;
}

export async function kafkajsClient(host: string): Promise<KafkajsClient> {
  const name: string = '@kafkajs/confluent-schema-registry';
  const { SchemaRegistry } = (await import(name)) as { SchemaRegistry: new (api: { host: string }) => KafkajsClient };
  return new SchemaRegistry({ host });
}
