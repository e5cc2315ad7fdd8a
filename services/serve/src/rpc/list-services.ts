/** ServeService.ListServices: the services that can be read now, by name. */
import { create } from '@bufbuild/protobuf';
import { type ListServicesResponse, ListServicesResponseSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Catalog } from '@freshet/replica/catalog.ts';
import { keyColumnsOf } from '../core/selection.ts';

interface DescribedOutput {
  readonly name: string;
  readonly type: ValueType;
}

export function listServices(catalog: () => Catalog): () => Promise<ListServicesResponse> {
  return async () =>
    create(ListServicesResponseSchema, {
      services: [...catalog().services.values()]
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .map(({ name, outputs, plan }) => ({
          name,
          keys: keyColumnsOf(outputs.map(({ view }) => view.entity)),
          outputs: [
            ...outputs.map((output): DescribedOutput => ({ name: output.name, type: output.layout.type })),
            ...plan.onDemand.map((computed): DescribedOutput => ({ name: computed.name, type: must(computed.type) })),
          ],
          request: plan.request,
        })),
    });
}
