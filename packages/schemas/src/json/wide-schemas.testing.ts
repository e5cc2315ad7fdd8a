/** Pairs of wide JSON Schemas, for tests and measures: every second property allows more in the new one. */

export function wideJsonSchemas(properties: number): { readonly old: string; readonly now: string } {
  const schema = (more: number) =>
    JSON.stringify({
      type: 'object',
      properties: Object.fromEntries(
        Array.from({ length: properties }, (_, i) => [
          `field_${i}`,
          i % 2 === 0
            ? { type: 'string', maxLength: 20 + more }
            : {
                type: 'object',
                properties: { a: { type: ['integer', 'null'] }, b: { enum: ['x', 'y'] } },
                required: ['a'],
              },
        ]),
      ),
      required: ['field_0'],
      additionalProperties: false,
    });
  return { old: schema(0), now: schema(1) };
}
