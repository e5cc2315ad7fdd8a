/**
 * Where releases of Confluent's registry differ, in one table: which of them this one answers as.
 *
 * Owns every difference that depends on the profile; nothing else in rest/ asks for its name.
 */
import type { OneofRule } from '@freshet/schemas/protobuf/compare-oneofs.ts';
import { MODES, type Mode } from '../core/subjects/settings.ts';

export const PROFILE_NAMES = ['confluent-7', 'confluent-8.1', 'latest'] as const;
export type ProfileName = (typeof PROFILE_NAMES)[number];

export interface Profile {
  readonly name: ProfileName;
  /** The `error_code` of an incompatible schema. */
  readonly incompatibleCode: number;
  /** Whether `schemaType` is left out when it is AVRO. */
  readonly omitsAvro: boolean;
  /** Whether registering answers with the whole schema, not its id only; and schemas have `guid`, `ts`, `deleted`. */
  readonly isFull: boolean;
  /** Whether GET by id tells `guid`, `subject` and `version`, and there are GUID endpoints. */
  readonly hasGuids: boolean;
  /** Whether lists of versions take `offset` and `limit`. */
  readonly pagesVersions: boolean;
  /** DELETE /contexts/{c}, recursive deletes of modes, /v1/metadata/deployment. */
  readonly deletesContexts: boolean;
  readonly modes: readonly Mode[];
  /** Whether a registration has `force`. No published text was found that says what it does, so it is refused where the release has it. */
  readonly hasForce: boolean;
  /** Whether a oneof is found again by its name only, as it was until June 2026 (Protobuf). */
  readonly oneofRule: OneofRule;
}

const BEFORE_FORWARD = MODES.filter((mode) => mode !== 'FORWARD');

export const PROFILES: Readonly<Record<ProfileName, Profile>> = {
  'confluent-7': {
    name: 'confluent-7',
    incompatibleCode: 409,
    omitsAvro: true,
    isFull: false,
    hasGuids: false,
    pagesVersions: false,
    deletesContexts: false,
    modes: BEFORE_FORWARD,
    hasForce: false,
    oneofRule: 'before',
  },
  'confluent-8.1': {
    name: 'confluent-8.1',
    incompatibleCode: 409,
    omitsAvro: false,
    isFull: true,
    hasGuids: true,
    pagesVersions: true,
    deletesContexts: true,
    modes: MODES,
    hasForce: false,
    oneofRule: 'before',
  },
  latest: {
    name: 'latest',
    incompatibleCode: 40901,
    omitsAvro: false,
    isFull: true,
    hasGuids: true,
    pagesVersions: true,
    deletesContexts: true,
    modes: MODES,
    hasForce: true,
    oneofRule: 'latest',
  },
};
