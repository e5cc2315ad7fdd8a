/**
 * What the parts of a captured database share (postgres-source.ts): the doings that each has its own file, and what they are
 * to capture. Owns no behaviour beyond telling whose routes are whose.
 */
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { ContractHistory } from '../core/contract-history.ts';
import type { RebuildPace } from '../core/rebuild-pace.ts';
import type { HeldReleases } from './held-releases.ts';
import type { PostgresSourceOptions } from './postgres-source-options.ts';
import type { StageStore } from './snapshot-stage.ts';
import type { SourceBoard } from './source-board.ts';
import type { SourceSnapshots } from './source-snapshots.ts';
import type { SourceStore } from './source-store.ts';

/** What is to be captured of one database. */
export interface Wanted {
  readonly definitions: DefinitionSet;
  /** The contracts that the log knows, those of the definitions among them. */
  readonly contracts: ContractHistory;
  /** The definitions' routes of this database. */
  readonly routes: readonly RoutePlan[];
}

export interface SourceParts {
  readonly options: PostgresSourceOptions;
  readonly store: SourceStore;
  readonly stages: StageStore;
  readonly snapshots: SourceSnapshots;
  readonly held: HeldReleases;
  readonly board: SourceBoard;
  /** How soon what was lost is read anew. */
  readonly pace: RebuildPace;
}

/** What definitions want of the database of a name. */
export function wantedOf(database: string, definitions: DefinitionSet, contracts: ContractHistory): Wanted {
  const routes = definitions.routes.filter(
    ({ source }) => source?.origin.case === 'postgres' && source.origin.value.database === database,
  );
  return { definitions, contracts, routes };
}
