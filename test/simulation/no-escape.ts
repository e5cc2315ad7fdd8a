/**
 * While a simulation runs, nothing may look past it: a real clock, a real timer or real chance would make a seed
 * something else each time. Whoever asks for one is told, with a stack that names the place.
 */

const FORBIDDEN: readonly (readonly [object, string])[] = [
  [Math, 'random'],
  [Date, 'now'],
  [performance, 'now'],
  [globalThis, 'setTimeout'],
  [globalThis, 'setInterval'],
];

/** Forbids them until the result is called; `onEscape` is told of each attempt, which then throws. */
export function forbidEscapes(onEscape: (error: Error) => void): () => void {
  const restore = FORBIDDEN.map(([owner, name]) => {
    const before = Object.getOwnPropertyDescriptor(owner, name);
    const found = before ?? Object.getOwnPropertyDescriptor(Object.getPrototypeOf(owner) as object, name);
    Object.defineProperty(owner, name, {
      configurable: true,
      writable: true,
      value: () => {
        const error = new Error(`${name} was called in a simulation`);
        onEscape(error);
        throw error;
      },
    });
    return () => {
      if (before === undefined) Reflect.deleteProperty(owner, name);
      else Object.defineProperty(owner, name, found as PropertyDescriptor);
    };
  });
  return () => {
    for (const undo of restore) undo();
  };
}
