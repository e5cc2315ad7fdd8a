/** A value that cannot be taken. Its row goes into quarantine with the reason; it is no failure of the process. */
export class ValueRefused extends Error {
  override readonly name = 'ValueRefused';
}
