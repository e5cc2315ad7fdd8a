/**
 * Tags that stand in a schema's text ("confluent:tags", confluent.field_meta): on what, and how they are changed.
 *
 * Owns the names of places, what a change makes of tags, and the bound of the names: they are put together from all that
 * a place lies in, so a text that nests names long enough has more of them than of itself. Does not own where the places
 * of a kind of schema are (avro/, json/, protobuf/). Pure.
 */
import { InvalidSchema } from './schema.ts';

/** A record (a message, an object), or a field of one. */
export type TagPlaceKind = 'sr_record' | 'sr_field';

export interface TagPlace {
  /** "shop.Order.id"; in JSON Schema "object.lines.array.object.id"; in Protobuf without the package, "Order.Line.id". */
  readonly path: string;
  readonly kind: TagPlaceKind;
}

export interface TaggedPlace extends TagPlace {
  readonly tags: readonly string[];
}

export interface TagChange extends TagPlace {
  readonly add: readonly string[];
  readonly remove: readonly string[];
  /** Whether nothing is wrong when there is no such place. */
  readonly isOptional?: boolean | undefined;
}

/** The attribute of Avro and the keyword of JSON Schema that holds tags. */
export const TAGS_KEY = 'confluent:tags';

/** Characters of all names of places of one text. */
const PATH_CHARACTERS_MAX = 8_000_000;

/** What a change leaves: those that were there in their order, without those removed, then those added. */
export function changedTags(before: readonly string[], { add, remove }: TagChange): string[] {
  const gone = new Set(remove);
  return [...new Set([...before, ...add])].filter((tag) => !gone.has(tag));
}

/** Counts the names of a text's places. */
export class PathBudget {
  #left = PATH_CHARACTERS_MAX;

  /** Throws InvalidSchema when it is one too many. */
  spend(path: string): string {
    this.#left -= path.length;
    if (this.#left < 0) throw new InvalidSchema('The names of its fields are too long in all.', { tooLarge: true });
    return path;
  }
}

/** The changes that are asked for, each to be met once. */
export class TagChanges {
  readonly #open: Map<string, TagChange>;

  constructor(changes: readonly TagChange[]) {
    this.#open = new Map(changes.map((change) => [keyOf(change), change]));
  }

  /** The change of a place, which is met by that; undefined: it stays as it is. */
  take(place: TagPlace): TagChange | undefined {
    const key = keyOf(place);
    const change = this.#open.get(key);
    this.#open.delete(key);
    return change;
  }

  /** Throws InvalidSchema for a place that there is not. */
  requireAllMet(): void {
    for (const { path, isOptional } of this.#open.values())
      if (isOptional !== true) throw new InvalidSchema(`No matching path '${path.slice(0, 200)}' found in the schema`);
  }
}

function keyOf({ kind, path }: TagPlace): string {
  return `${kind} ${path}`;
}
