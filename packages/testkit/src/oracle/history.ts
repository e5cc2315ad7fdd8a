/**
 * The events that the oracle computes from: reads encoded log records of one partition and keeps everything.
 *
 * Owns which rows are live (of a mutable source: the latest image of each row that was not deleted): generations of routes, lanes and their marks, the view's condition and derived columns (by
 * a JavaScript twin of each CEL expression), the reach of the view's windows at the record's log time. Does not own
 * values (oracle.ts). Reads records with protobuf-es, never with the engine's decoder.
 */
import { fromBinary } from '@bufbuild/protobuf';
import {
  type Change,
  LogRecordSchema,
  Operation,
  type Sequence,
  type Truncate,
} from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, FeaturePlan, ServicePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { isFed, isFolded, isTold, type OracleAnswer, type OracleEvent, oracleValue, scalarOf } from './oracle.ts';

/** A row by column name. */
export type RowValues = ReadonlyMap<string, Scalar>;

/** What a view's CEL expressions say, in JavaScript. An exception is a CEL error at run time. */
export interface ViewTwin {
  readonly where: ((row: RowValues) => Scalar) | undefined;
  /** In the order of evaluation. */
  readonly derived: readonly { readonly name: string; readonly evaluate: (row: RowValues) => Scalar }[];
}

interface LiveChange {
  readonly offset: number;
  readonly logTimeUs: bigint;
  readonly change: Change | Truncate;
}

/** The image of a live row of a mutable source that was fed. */
interface LiveImage extends OracleEvent {
  /** The row's identity, in hex. */
  readonly row: string;
}

/** The record that last changed a key. */
export interface LastChange {
  readonly offset: number;
  readonly logTimeUs: bigint;
}

interface ViewEvents {
  readonly generation: number;
  /** How many of the live changes were looked at. */
  seen: number;
  readonly byKey: Map<string, OracleEvent[]>;
  readonly lastChange: Map<string, LastChange>;
  expired: number;
}

/** The text by which this module names bytes (view ids, keys). */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** All events of one partition's prefix. */
export class OracleHistory {
  readonly #twins: ReadonlyMap<string, ViewTwin>;
  readonly #generations = new Map<number, number>();
  readonly #snapshotsEnded = new Set<string>();
  readonly #marks = new Map<string, Sequence>();
  readonly #live: LiveChange[] = [];
  readonly #events = new Map<string, ViewEvents>();
  #definitions: DefinitionSet | undefined;
  #position = 0;

  /** @param twins by hex view id */
  constructor(twins: ReadonlyMap<string, ViewTwin>) {
    this.#twins = twins;
  }

  /** How many records were appended. */
  get position(): number {
    return this.#position;
  }

  /** The definitions in force. */
  get definitions(): DefinitionSet | undefined {
    return this.#definitions;
  }

  /** Appends the next record. */
  append(logTimeUs: number, encoded: Uint8Array): void {
    const { kind } = fromBinary(LogRecordSchema, encoded);
    const offset = this.#position++;
    if (kind.case === 'definitions') {
      if (kind.value.generation > (this.#definitions?.generation ?? 0n)) this.#definitions = kind.value;
    } else if (kind.case === 'routeBegin') {
      const { route, generation } = kind.value;
      if (generation > (this.#generations.get(route) ?? 0)) this.#generations.set(route, generation);
    } else if (kind.case === 'snapshotEnd') {
      this.#snapshotsEnded.add(`${kind.value.route}/${kind.value.generation}`);
    } else if (kind.case === 'change' || kind.case === 'truncate') {
      this.#appendChange({ offset, logTimeUs: BigInt(logTimeUs), change: kind.value });
    }
  }

  /** The view in force by that name. */
  view(name: string): ViewPlan | undefined {
    return this.#definitions?.views.find((view) => view.name === name);
  }

  /**
   * Whether the view has all that its source has. Before the route begins nothing is there; when it begins anew, the rows
   * of its earlier generation are gone; until its snapshot has ended half a history must not pass for the whole (R3).
   */
  isWhole(view: ViewPlan): boolean {
    const generation = this.#generations.get(view.route) ?? 0;
    return this.#snapshotsEnded.has(`${view.route}/${generation}`);
  }

  /** The folded events of a key, by offset; of a mutable source: of its live rows. The list changes with each record. */
  events(view: ViewPlan, key: Uint8Array): readonly OracleEvent[] {
    return this.#eventsOf(view).byKey.get(hex(key)) ?? [];
  }

  /** The record that last changed what the view has of a key; undefined: none did. */
  lastChange(view: ViewPlan, key: Uint8Array): LastChange | undefined {
    return this.#eventsOf(view).lastChange.get(hex(key));
  }

  /** How many rows met the view's condition but were in no window's reach, those without a time included. */
  expired(view: ViewPlan): number {
    return this.#eventsOf(view).expired;
  }

  /** The value of one feature of one key at a time. */
  value(view: ViewPlan, feature: FeaturePlan, key: Uint8Array, tUs: bigint): OracleAnswer {
    return oracleValue(feature, this.events(view, key), tUs, this.lastChange(view, key)?.logTimeUs);
  }

  /** What a service answers for one key, which all its views share: one value per output. */
  serviceValues(service: ServicePlan, key: Uint8Array, tUs: bigint): OracleAnswer[] {
    return service.features.map((output) => {
      const view = must(this.#definitions?.views.find((candidate) => hex(candidate.viewId) === hex(output.viewId)));
      return this.value(view, must(view.features[output.feature]), key, tUs);
    });
  }

  #appendChange(live: LiveChange): void {
    const { route, generation, lane, sequence } = live.change;
    if (this.#generations.get(route) !== generation || sequence === undefined) return;
    const laneName = `${route}/${generation}/${lane}`;
    const mark = this.#marks.get(laneName);
    if (mark !== undefined && !isAfter(sequence, mark)) return;
    this.#marks.set(laneName, sequence);
    this.#live.push(live);
  }

  #eventsOf(view: ViewPlan): ViewEvents {
    const id = hex(view.viewId);
    const generation = this.#generations.get(view.route) ?? 0;
    let events = this.#events.get(id);
    if (events === undefined || events.generation !== generation) {
      events = { generation, seen: 0, byKey: new Map(), lastChange: new Map(), expired: 0 };
      this.#events.set(id, events);
    }
    for (; events.seen < this.#live.length; events.seen++) this.#addEvent(view, events, must(this.#live[events.seen]));
    return events;
  }

  #addEvent(view: ViewPlan, events: ViewEvents, live: LiveChange): void {
    const { offset, logTimeUs, change } = live;
    if (change.route !== view.route || change.generation !== events.generation) return;
    if (view.mode === SourceMode.MUTABLE) {
      this.#changeImages(view, events, live);
      return;
    }
    // What is appended stays, whatever becomes of the row and the table.
    if (change.$typeName !== 'freshet.log.v1.Change') return;
    if (change.operation !== Operation.INSERT && change.operation !== Operation.READ) return;
    const row = this.#rowOf(view, change);
    if (row === undefined) return;
    const event = { offset, logTimeUs, eventTimeUs: change.eventTimeUs, values: row };
    if (!isFolded(view, event)) {
      events.expired++;
      return;
    }
    addTo(events, hex(change.entityKey), event);
    events.lastChange.set(hex(change.entityKey), { offset, logTimeUs });
  }

  /** Keeps the multiset of live images that were fed. */
  #changeImages(view: ViewPlan, events: ViewEvents, { offset, logTimeUs, change }: LiveChange): void {
    if (change.$typeName !== 'freshet.log.v1.Change') {
      events.byKey.clear();
      events.lastChange.clear();
      return;
    }
    const { operation, eventTimeUs } = change;
    const key = hex(change.entityKey);
    const row = hex(change.rowKey);
    const isInsert = operation === Operation.INSERT || operation === Operation.READ;
    const before = change.oldRowKey.length > 0 ? hex(change.oldRowKey) : row;
    const replaced = isInsert ? (this.#isUnique(view) ? row : undefined) : before;
    let isChanged = false;
    if (replaced !== undefined) {
      const images = events.byKey.get(key) ?? [];
      // They are in the order in which they came: of alike ones the oldest goes.
      const index = images.findIndex(
        (image) => (image as LiveImage).row === replaced && isTold(view, image, logTimeUs),
      );
      isChanged = index >= 0;
      if (isChanged) images.splice(index, 1);
    }
    const values = operation === Operation.DELETE ? undefined : this.#rowOf(view, change);
    if (values !== undefined) {
      const image: LiveImage = { offset, logTimeUs, eventTimeUs, values, row };
      if (!isFolded(view, image)) events.expired++;
      else if (isFed(view, image)) {
        addTo(events, key, image);
        isChanged = true;
      }
    }
    if (isChanged) events.lastChange.set(key, { offset, logTimeUs });
  }

  #isUnique(view: ViewPlan): boolean {
    const contract = must(this.#definitions?.routes.find(({ route }) => route === view.route)?.source?.contract);
    return contract.primaryKey.length > 0;
  }

  /** The row with its derived columns, or undefined when the condition is not true. */
  #rowOf(view: ViewPlan, change: Change): RowValues | undefined {
    const contract = must(this.#definitions?.routes.find(({ route }) => route === view.route)?.source?.contract);
    const row = new Map(contract.columns.map(({ name }, i) => [name, scalarOf(change.row[i])]));
    const twin = must(this.#twins.get(hex(view.viewId)));
    for (const { name, evaluate } of twin.derived)
      row.set(
        name,
        orNull(() => evaluate(row)),
      );
    const { where } = twin;
    return where === undefined || orNull(() => where(row)) === true ? row : undefined;
  }
}

function addTo(events: ViewEvents, key: string, event: OracleEvent): void {
  const ofKey = events.byKey.get(key);
  if (ofKey === undefined) events.byKey.set(key, [event]);
  else ofKey.push(event);
}

function isAfter(a: Sequence, b: Sequence): boolean {
  if (a.major !== b.major) return a.major > b.major;
  if (a.minor !== b.minor) return a.minor > b.minor;
  return a.part > b.part;
}

/** A CEL error makes a derived value null and a condition false. */
function orNull(evaluate: () => Scalar): Scalar {
  try {
    return evaluate();
  } catch {
    return null;
  }
}
