/**
 * Builds that are broken on purpose, each by one change of one production file: the simulator must catch every one of
 * them, or its green says nothing. docs/simulation.md lists them with what caught them.
 *
 * Owns the list. A change that no longer applies (the text is not there exactly once) is an error: mend it here.
 */

export interface BrokenBuild {
  readonly name: string;
  readonly about: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export const BROKEN_BUILDS: readonly BrokenBuild[] = [];
