/**
 * Server reflection, from the same descriptors that the server runs on. protobufjs decodes them for it; it never sees
 * a descriptor that a user supplied.
 */
import { type DescFile, type DescService, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';

export function addReflection(server: Server, services: readonly DescService[]): void {
  const files = new Map<string, Buffer>();
  const visit = (file: DescFile): void => {
    if (files.has(file.proto.name)) return;
    file.dependencies.forEach(visit);
    files.set(file.proto.name, Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)));
  };
  for (const service of services) visit(service.file);
  // Of a package definition the reflection service reads only the descriptors' bytes.
  const definition = { freshet: { fileDescriptorProtos: [...files.values()] } };
  const reflection = new ReflectionService(definition as unknown as ConstructorParameters<typeof ReflectionService>[0]);
  reflection.addToServer(server);
}
